//! Evaluation: what a model draws, edits and answers, judged; and the folders that the public benchmarks' own scorers read.
//!
//! Everything goes through the public API, by way of an [`Artist`]: what is measured is what a user gets, from a server as
//! from a model in this process, and a test needs no model at all. The crate therefore knows neither tensors nor weights.
//!
//! - [`bench`]: GenEval, DPG-Bench, GEdit-Bench and ImgEdit-Bench. Their scorers need detectors and models of others, so
//!   only the images are made here, under the names that those scorers look for.

mod artist;
pub mod bench;
mod client;
mod error;
mod files;
mod jobs;
mod manifest;
mod seed;
mod settings;

pub use artist::{Answer, Artist, ArtistError, Drawing, Editing, Picture, Question};
pub use client::ClientArtist;
pub use error::EvalError;
pub use jobs::{Failure, Outcome, Progress, Step, StepOutcome};
pub use seed::seed_of;
pub use settings::{Run, Sampling, Schedule, Settings};
