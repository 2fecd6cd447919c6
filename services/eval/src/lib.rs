//! Evaluation: what a model draws, edits and answers, judged; and the folders that the public benchmarks' own scorers read.
//!
//! Everything goes through the public API, by way of an [`Artist`]: what is measured is what a user gets, from a server as
//! from a model in this process, and a test needs no model at all. The crate therefore knows neither tensors nor weights.
//!
//! - [`mod@bench`]: GenEval, DPG-Bench, GEdit-Bench and ImgEdit-Bench. Their scorers need detectors and models of others, so
//!   only the images are made here, under the names that those scorers look for.
//! - [`nano`]: held-out prompts, edits, questions and captions of the shapes world, judged here by pixels alone.
//! - [`compare`]: the same prompts and seeds under two settings or two models, with the difference and its uncertainty.
//! - [`curate`]: a dataset's rows scored by rewards; those that score high enough are kept.

mod artist;
pub mod bench;
mod client;
pub mod compare;
pub mod curate;
mod error;
mod files;
mod jobs;
mod manifest;
pub mod nano;
mod seed;
mod settings;
mod statistics;

pub use artist::{Answer, Artist, ArtistError, Drawing, Editing, Picture, Question};
pub use client::ClientArtist;
pub use error::EvalError;
pub use files::append_whole;
pub use jobs::{Failure, Outcome, Progress, Step, StepOutcome};
pub use manifest::Model;
pub use seed::seed_of;
pub use settings::{Run, Sampling, Schedule, Settings};
pub use statistics::{Difference, Tally};
