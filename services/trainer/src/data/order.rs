//! A random order of any number of things that is never written down.

use unipic_world::Draws;

/// Rounds of the network; four make a pseudorandom permutation of a pseudorandom function.
const ROUNDS: u64 = 4;

/// Which of `0..n` comes at `place` in the order of `key`. A Feistel network over the next power of four is a permutation;
/// what falls beyond `n` goes through it again until it does not, which keeps it one.
pub(super) fn shuffled(key: u64, n: u64, place: u64) -> u64 {
    if n < 2 {
        return 0;
    }
    let half = (u64::BITS - (n - 1).leading_zeros()).div_ceil(2);
    let mask = (1 << half) - 1;
    let mut at = place % n;
    loop {
        let (mut left, mut right) = (at >> half, at & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (Draws::new(key, round, right).bits() & mask));
        }
        at = left << half | right;
        if at < n {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_takes_everything_once() {
        for n in [0, 1, 2, 3, 4, 5, 16, 17, 1000] {
            let mut order: Vec<u64> = (0..n).map(|place| shuffled(3, n, place)).collect();
            order.sort_unstable();
            assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn orders_of_two_keys_differ() {
        let order = |key| (0..100).map(|place| shuffled(key, 100, place)).collect::<Vec<_>>();
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let fixed = order(1).iter().zip(0..).filter(|(at, place)| **at == *place).count();
        assert!(fixed < 10, "{fixed} of 100 stay");
    }
}
