//! Random draws that depend on nothing but (seed, stream, index).
//!
//! A counter-based generator instead of a shared one: sample 1,000,000 costs as much as sample 0, threads need no lock,
//! and a trainer that resumes at a step sees the data that it would have seen.

/// One finite stream of draws, splitmix64 from a state that is a hash of its address.
#[derive(Debug, Clone)]
pub struct Draws {
    state: u64,
}

/// The step of splitmix64: 2^64 divided by the golden ratio, odd.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finalizer of splitmix64: a bijection of 64 bits in which every input bit moves half of the output bits.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A stable hash of a few numbers, order included.
pub(crate) fn hash(parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(0x243F_6A88_85A3_08D3, |state, &part| mix(state.wrapping_add(STEP) ^ mix(part.wrapping_add(STEP))))
}

impl Draws {
    /// The stream at an address.
    #[must_use]
    pub fn new(seed: u64, stream: u64, index: u64) -> Self {
        Self { state: hash(&[seed, stream, index]) }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// A number in `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The high half of a 64 x 64 bit product: its bias is below n / 2^64.
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A number in [from, to).
    pub fn between(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * self.unit()
    }

    /// True in this share of draws.
    pub fn chance(&mut self, share: f32) -> bool {
        self.unit() < share
    }

    /// One of several; `None` only where there are none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).copied()
    }

    /// An index with probability in proportion to its weight; weights that are not positive never win, and index 0 is
    /// the answer when none is positive.
    pub fn weighted(&mut self, weights: &[f32]) -> usize {
        let total: f32 = weights.iter().filter(|&&weight| weight > 0.0).sum();
        let mut left = self.unit() * total;
        let mut last = 0;
        for (at, &weight) in weights.iter().enumerate().filter(|&(_, &weight)| weight > 0.0) {
            last = at;
            if left < weight {
                break;
            }
            left -= weight;
        }
        last
    }

    /// Puts a slice in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_their_address_alone() {
        let mut first = Draws::new(1, 2, 3);
        let mut again = Draws::new(1, 2, 3);
        assert!((0..100).all(|_| first.bits() == again.bits()));
        for other in [Draws::new(2, 2, 3), Draws::new(1, 3, 3), Draws::new(1, 2, 4), Draws::new(3, 2, 1)] {
            assert_ne!(other.clone().bits(), Draws::new(1, 2, 3).bits());
        }
    }

    #[test]
    fn draws_are_uniform_enough() {
        let mut counts = [0usize; 7];
        for index in 0..70_000 {
            counts[Draws::new(5, 6, index).below(7)] += 1;
        }
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
        let mut draws = Draws::new(0, 0, 0);
        assert_eq!(draws.below(0), 0);
        assert_eq!(draws.weighted(&[]), 0);
        assert!((0..1000).all(|_| draws.weighted(&[0.0, 1.0, -1.0]) == 1));
    }
}
