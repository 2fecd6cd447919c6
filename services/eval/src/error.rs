//! What stops an evaluation. What one prompt failed with is a [`Failure`](crate::Failure), not an error.

use std::path::PathBuf;

use unipic_imaging::ImageError;

use crate::ArtistError;

/// Why an evaluation could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A file cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{path}`: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of prompts is not what it should be.
    #[error("`{path}`, {place}: {problem}")]
    Input {
        /// The file.
        path: PathBuf,
        /// Where in it, such as "line 3".
        place: String,
        /// What is wrong and what was wanted.
        problem: String,
    },
    /// A setting has no sense.
    #[error("{name} is {value}; it must be {wanted}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        wanted: String,
    },
    /// The folder holds another run.
    #[error(
        "the folder `{path}` holds a run with other parameters ({}); give another folder, or the same parameters to go on",
        differences.join("; ")
    )]
    OtherRun {
        /// The folder.
        path: PathBuf,
        /// What differs, each with both values.
        differences: Vec<String>,
    },
    /// The model does not tell what it is.
    #[error("the model cannot be asked what it is: {0}")]
    Model(#[source] ArtistError),
    /// An image cannot be made into a file.
    #[error("an image cannot be written as a PNG: {0}")]
    Image(#[from] ImageError),
    /// A broken rule of this crate.
    #[error("{0}; this is a defect of the evaluation")]
    Defect(String),
}

impl EvalError {
    /// Refuses a setting.
    pub(crate) fn setting(name: &'static str, value: impl ToString, wanted: impl Into<String>) -> Self {
        Self::Setting { name, value: value.to_string(), wanted: wanted.into() }
    }
}
