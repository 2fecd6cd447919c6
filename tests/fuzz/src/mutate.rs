//! Damage to inputs, the same in every run.

use fastrand::Rng;

/// Numbers at which sizes, counts and signs break.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// A longer input is cut: what a stranger may send is bounded before it is read, and that bound has its own tests.
const MAX_BYTES: usize = 1 << 20;

/// Makes damaged copies.
pub struct Mutator {
    random: Rng,
    words: &'static [&'static str],
}

impl Mutator {
    /// A mutator that also knows words which mean something to the reader, such as keys.
    pub fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { random: Rng::with_seed(seed), words }
    }

    /// A copy of `input` with one to six damages; `other` lends pieces.
    pub fn damaged(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        // Half of them have one wound only: what is still nearly right gets furthest.
        let n_damages = if self.random.bool() { 1 } else { self.random.usize(2..=6) };
        for _ in 0..n_damages {
            self.damage(&mut bytes, other);
            bytes.truncate(MAX_BYTES);
        }
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.place(bytes.len());
        match self.random.u8(..12) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << self.random.u8(..8),
            2 if !bytes.is_empty() => bytes[at] = self.random.u8(..),
            3 => self.overwrite_number(bytes, at),
            4 => bytes.truncate(at),
            5 => {
                let end = self.end(at, bytes.len());
                bytes.drain(at..end);
            }
            6 => {
                let piece = bytes[at..self.end(at, bytes.len())].to_vec();
                let times = if self.random.u8(..8) == 0 { self.random.usize(1..2000) } else { 1 };
                insert(bytes, at, &piece.repeat(times.min(1 + MAX_BYTES / piece.len().max(1))));
            }
            7 => {
                let from = self.place(other.len());
                let piece = &other[from..self.end(from, other.len())];
                insert(bytes, at, piece);
            }
            8 | 9 if !self.words.is_empty() => {
                let word = self.words[self.random.usize(..self.words.len())];
                insert(bytes, at, word.as_bytes());
            }
            10 => self.rewrite_digits(bytes),
            _ => insert(bytes, at, &vec![self.random.u8(..); self.random.usize(1..40)]),
        }
    }

    /// A place in something so long; half of them near the beginning, where headers are.
    fn place(&mut self, len: usize) -> usize {
        let bound = if self.random.bool() { len.min(96) } else { len };
        if bound == 0 { 0 } else { self.random.usize(..bound) }
    }

    fn end(&mut self, at: usize, len: usize) -> usize {
        let most = if self.random.u8(..8) == 0 { len } else { len.min(at + 24) };
        if most <= at { at } else { self.random.usize(at..=most) }
    }

    /// Writes an edge as a number of 1, 2, 4 or 8 bytes, either end first.
    fn overwrite_number(&mut self, bytes: &mut [u8], at: usize) {
        let (value, width) = (EDGES[self.random.usize(..EDGES.len())], 1 << self.random.u8(..4));
        let mut digits = value.to_le_bytes()[..width].to_vec();
        if self.random.bool() {
            digits.reverse();
        }
        for (place, digit) in bytes[at..].iter_mut().zip(digits) {
            *place = digit;
        }
    }

    /// Puts another number into the place of one that is written in digits.
    fn rewrite_digits(&mut self, bytes: &mut Vec<u8>) {
        let starts: Vec<usize> = (0..bytes.len())
            .filter(|&i| bytes[i].is_ascii_digit() && (i == 0 || !bytes[i - 1].is_ascii_digit()))
            .collect();
        if starts.is_empty() {
            return;
        }
        let start = starts[self.random.usize(..starts.len())];
        let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = EDGES[self.random.usize(..EDGES.len())];
        let number = match self.random.u8(..5) {
            0 => format!("-{value}"),
            1 => format!("{value}e{}", self.random.u16(..400)),
            2 => format!("0.{value}"),
            _ => value.to_string(),
        };
        bytes.splice(start..start + length, number.into_bytes());
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_the_same_every_time_and_of_every_kind() {
        let copies = |seed| {
            let mut mutator = Mutator::new(seed, &["word"]);
            (0..2000).map(|_| mutator.damaged(b"{\"n\": 17, \"size\": [1, 2]}", b"other")).collect::<Vec<_>>()
        };
        assert!(copies(1) == copies(1), "nothing is random");
        assert!(copies(1) != copies(2));
        let has = |what: &[u8]| copies(1).iter().any(|copy| copy.windows(what.len()).any(|window| window == what));
        assert!(has(b"word") && has(b"othe") && has(b"18446744073709551615") && has(b"\xff\xff\xff\xff"));
        assert!(copies(1).iter().any(|copy| copy.len() > 4000) && copies(1).iter().any(|copy| copy.len() < 4));
    }

    #[test]
    fn nothing_at_all_can_be_damaged() {
        let mut mutator = Mutator::new(1, &[]);
        assert!((0..1000).map(|_| mutator.damaged(b"", b"")).any(|copy| !copy.is_empty()));
    }
}
