//! The public benchmarks: their prompts in, the folders that their own scorers read out.
//!
//! Prompts and source images are not part of this repository; they are downloaded from the benchmarks' own places. What is
//! fixed here is the folder layout and the names of files, which each scorer takes for granted and none of them checks.
//!
//! Every run can be interrupted and repeated: whole images are kept, the rest is made, and `run.json` refuses a folder that
//! was begun with other parameters.

mod dpg;
mod gedit;
mod geneval;
mod imgedit;
mod lines;
mod prepared;
mod tiles;

use std::path::PathBuf;

use serde::Serialize;

pub(crate) use prepared::is_there;

pub use dpg::{Dpg, run as dpg};
pub use gedit::{EXPORT as GEDIT_EXPORT, Fit, GEdit, run as gedit};
pub use geneval::{GenEval, run as geneval};
pub use imgedit::{ImgEdit, run as imgedit};

use crate::Outcome;

/// What a benchmark's run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The benchmark.
    pub benchmark: &'static str,
    /// The folder that its scorer reads.
    pub images: PathBuf,
    /// What became of each image.
    pub outcome: Outcome,
    /// Time of this run, in seconds.
    pub seconds: f64,
    /// How the images are scored, in a sentence or two.
    pub next: String,
}

impl Report {
    /// Whether every image is there. A command whose run is not complete must exit as failed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.outcome.is_complete()
    }
}
