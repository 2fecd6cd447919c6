//! Hostile inputs, replayed: a corpus of files and, from each of them, many damaged copies.
//!
//! Whatever reads bytes of a stranger has a target in `tests/targets`. A target's inputs are its seeds (made by the test, and
//! right), the files of `corpus/TARGET` (what was found to hurt once, and what is likely to), and copies of both that a
//! [`Mutator`] damages. Every one must be taken or refused with an error that says something, within a bound of memory and
//! time. Nothing here is random: a run of the same rounds tries the same inputs, so what CI finds, a desk finds again.
//!
//! No coverage guides it, unlike libFuzzer: that needs a nightly compiler. In its place, `UNIPIC_FUZZ_ROUNDS=20000 cargo test
//! -p fuzz` looks longer, and `UNIPIC_FUZZ_SEED=2` elsewhere. An input that fails is kept as a file, whose place the failure
//! tells; it belongs into the corpus with the mend.

mod memory;
mod mutate;
mod replay;

pub use mutate::Mutator;
pub use replay::{Bounds, Outcome, Replayed, Target};
