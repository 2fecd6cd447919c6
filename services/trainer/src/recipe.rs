//! What a run trains, in which stages, on what.
//!
//! A recipe is a TOML file and the only input of a run beside its own saved state: every sample, mask and noise is a
//! function of the recipe's seed, the stage and the step. So a run can be repeated by anyone, and one that was interrupted
//! goes on to the same weights.

mod builtin;
mod joint;
mod stage;

use std::path::Path;

use serde::{Deserialize, Serialize};
use unipic_weights::Part;
use unipic_weights::config::ModelConfig;

use crate::TrainError;
pub use builtin::{builtin, names, text};
pub(crate) use joint::Samples;
pub use joint::{Encoder, Joint, LossWeights, Mix, ReadoutWeights};
pub use stage::{Autoencoder, Schedule, Stage};

/// A recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Seed of the weights, samples, masks and noise.
    pub seed: u64,
    /// A checkpoint to begin with, a folder or `nano`; without one the weights are random.
    #[serde(default)]
    pub begin_with: Option<std::path::PathBuf>,
    /// Parts that are taken from it, by the names that `unipic model inspect` prints; all, where none is named. Sizes of
    /// other parts may differ from the checkpoint's, and their weights are random.
    #[serde(default)]
    pub begin_parts: Vec<String>,
    /// Sizes of the model, as in a checkpoint's `config.json`.
    pub model: ModelConfig,
    /// The stages, in their order.
    pub stages: Vec<Stage>,
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown or missing, or a value makes no sense; the key is named.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io(path))?;
        Self::parse(&text).map_err(|why| TrainError::Recipe { path: path.to_owned(), why })
    }

    /// Parses and checks a recipe; the error says what is wrong, by key.
    ///
    /// # Errors
    /// As [`Recipe::read`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let recipe: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        recipe.model.validate().map_err(|why| format!("model: {why}"))?;
        if recipe.stages.is_empty() {
            return Err("stages: there must be at least one".into());
        }
        recipe.begin_parts()?;
        for (i, stage) in recipe.stages.iter().enumerate() {
            let checked = stage.check().and_then(|()| stage.check_sides(recipe.model.vae.stride()));
            checked.map_err(|why| format!("stages[{i}] `{}`: {why}", stage.name))?;
        }
        Ok(recipe)
    }

    /// The parts taken from the checkpoint to begin with.
    ///
    /// # Errors
    /// When a name is no part's.
    pub fn begin_parts(&self) -> Result<Vec<Part>, String> {
        if self.begin_parts.is_empty() {
            return Ok(Part::ALL.to_vec());
        }
        stage::parts("begin_parts", &self.begin_parts)
    }
}
