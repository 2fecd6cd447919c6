//! Shares and differences of shares, with their uncertainty.
//!
//! A nano evaluation has some hundred prompts, so a difference of a point means nothing. Intervals are given everywhere a
//! figure could be mistaken for more than it is.

use serde::Serialize;

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_964;

/// How many of some were right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Tally {
    /// How many there were.
    pub n: usize,
    /// How many were right.
    pub right: usize,
    /// The share that was right, 0 to 1; 0 of none.
    pub share: f64,
    /// A 95 % interval for the share (Wilson).
    pub interval: [f64; 2],
}

impl Tally {
    /// Counts.
    pub fn of(right: impl IntoIterator<Item = bool>) -> Self {
        let (mut n, mut n_right) = (0, 0);
        for right in right {
            n += 1;
            n_right += usize::from(right);
        }
        let share = if n == 0 { 0.0 } else { n_right as f64 / n as f64 };
        Self { n, right: n_right, share, interval: wilson(share, n as f64) }
    }
}

fn wilson(share: f64, n: f64) -> [f64; 2] {
    if n == 0.0 {
        return [0.0, 1.0];
    }
    let scale = 1.0 + Z * Z / n;
    let middle = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

/// Two shares of the same items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Items that both sides have.
    pub n: usize,
    /// The first side's share.
    pub a: f64,
    /// The second side's share.
    pub b: f64,
    /// The second minus the first.
    pub difference: f64,
    /// A 95 % interval for the difference of paired shares (Agresti and Min 2005: half an item is added to each of the
    /// four outcomes, so that sides that agree on a few items are not taken for equal).
    pub interval: [f64; 2],
    /// Items that were right on the first side only.
    pub only_a: usize,
    /// Items that were right on the second side only.
    pub only_b: usize,
}

impl Difference {
    /// Compares pairs of (right on the first side, right on the second).
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut counts = [[0_usize; 2]; 2];
        for (a, b) in pairs {
            counts[usize::from(a)][usize::from(b)] += 1;
        }
        let [[neither, only_b], [only_a, both]] = counts;
        let n = neither + only_a + only_b + both;
        let share = |right: usize| if n == 0 { 0.0 } else { right as f64 / n as f64 };
        let (a, b) = (share(only_a + both), share(only_b + both));
        let (more, less, all) = (only_b as f64 + 0.5, only_a as f64 + 0.5, n as f64 + 2.0);
        let middle = (more - less) / all;
        let half = Z * ((more + less) - (more - less).powi(2) / all).max(0.0).sqrt() / all;
        let interval = [(middle - half).max(-1.0), (middle + half).min(1.0)];
        Self { n, a, b, difference: b - a, interval, only_a, only_b }
    }

    /// Whether the second side is shown to lose no more than `loss` (a share) against the first: the interval's lower end
    /// says so, not the difference itself.
    #[must_use]
    pub fn holds(&self, loss: f64) -> bool {
        self.n > 0 && self.interval[0] >= -loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: [f64; 2], wanted: [f64; 2]) {
        let off = (got[0] - wanted[0]).abs().max((got[1] - wanted[1]).abs());
        assert!(off < 5e-4, "{got:?}, not {wanted:?}");
    }

    #[test]
    fn wilsons_interval_is_that_of_the_books() {
        close(Tally::of((0..10).map(|at| at < 5)).interval, [0.2366, 0.7634]);
        close(Tally::of((0..50).map(|_| true)).interval, [0.9287, 1.0]);
        close(Tally::of((0..29).map(|at| at < 1)).interval, [0.0061, 0.1718]);
        assert_eq!(Tally::of([]).interval, [0.0, 1.0]);
    }

    #[test]
    fn a_paired_difference_counts_only_those_that_differ() {
        let pairs = |both: usize, only_a: usize, only_b: usize, neither: usize| {
            let some = |n, pair| std::iter::repeat_n(pair, n);
            let agree = some(both, (true, true)).chain(some(neither, (false, false)));
            Difference::of(agree.chain(some(only_a, (true, false))).chain(some(only_b, (false, true))))
        };
        let same = pairs(90, 0, 0, 10);
        assert_eq!((same.a, same.b, same.difference), (0.9, 0.9, 0.0));
        assert!(same.interval[0] < -0.01 && same.interval[1] > 0.01, "{same:?}");
        assert!(same.holds(0.02) && !same.holds(0.01));
        let worse = pairs(60, 30, 5, 5);
        assert!((worse.difference + 0.25).abs() < 1e-12 && worse.interval[1] < -0.1, "{worse:?}");
        // Worked by hand: (5.5 - 30.5) / 102 -+ 1.96 sqrt(36 - 625/102) / 102.
        close(worse.interval, [-0.3501, -0.1401]);
        assert!(!Difference::of([]).holds(1.0));
    }
}
