//! Why training could not start or go on.

use std::path::{Path, PathBuf};

/// A failure of the trainer.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe cannot be used.
    #[error("recipe {path}: {why}")]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong, by key.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The run's folder cannot be used.
    #[error("{path}: {why}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A stage cannot be trained as the recipe has it.
    #[error("stage `{stage}`: {why}")]
    Stage {
        /// The stage.
        stage: String,
        /// What is wrong, by key.
        why: String,
    },
    /// A saved state does not belong to this run.
    #[error("{path} cannot be resumed: {why}")]
    Resume {
        /// The run's folder.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// A loss or a gradient is not finite. Nothing of the step has been applied.
    #[error(
        "step {step} of stage `{stage}`: {what} is not finite. Its batch is in {batch}; where its samples are sound, lower \
         `learning_rate` and name another run folder. The same command goes on from the last saved state, over the same batch"
    )]
    NotFinite {
        /// The stage.
        stage: String,
        /// The step, from 0.
        step: usize,
        /// Which value.
        what: String,
        /// A file that lists the samples of the batch.
        batch: PathBuf,
    },
    /// A training sample cannot be used.
    #[error("data: {0}")]
    Data(String),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Weights(#[from] unipic_weights::WeightsError),
    /// A prompt cannot be tokenized.
    #[error(transparent)]
    Prompt(#[from] unipic_models::prompt::PromptError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// Stopped on request; the state has been saved.
    #[error("stopped at step {step} of stage `{stage}`; run the same command to go on")]
    Stopped {
        /// The stage.
        stage: String,
        /// Steps done in it.
        step: usize,
    },
}

impl TrainError {
    /// An error of a file.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
