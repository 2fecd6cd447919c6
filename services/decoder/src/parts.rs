//! What this service loads, and what a caller may know about it.

use std::sync::Arc;

use unipic_api::pb;
use unipic_models::load::LoadOptions;
use unipic_models::prompt::{PromptError, PromptTokenizer};
use unipic_models::qwen2::Model;
use unipic_weights::{Checkpoint, Part, WeightsError};

/// The parts of a checkpoint that this service loads.
pub const PARTS: [Part; 1] = [Part::Llm];

/// The language model and its tokenizer.
pub struct Parts {
    pub(crate) model: Model,
    pub(crate) tokenizer: Arc<PromptTokenizer>,
    pub(crate) info: Info,
}

/// Sizes of the loaded model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Width H of a hidden state.
    pub llm_width: usize,
    /// Positions a prompt and its answer, or its probe, may take together.
    pub context_length: usize,
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// SHA-256 of the loaded tensors, in hexadecimal.
    pub weights_sha256: String,
    /// Bytes of the weights as they are held.
    pub weight_bytes: u64,
    /// The device that holds them: `cpu` or `cuda:N`.
    pub device: String,
    /// What an operator should know about the load.
    pub notices: Vec<String>,
}

impl Info {
    /// As a message.
    pub fn message(&self) -> pb::GetDecoderInfoResponse {
        pb::GetDecoderInfoResponse {
            llm_width: self.llm_width as u32,
            context_length: self.context_length as u32,
            vocab_size: self.vocab_size as u32,
            weights_sha256: self.weights_sha256.clone(),
            notices: self.notices.clone(),
        }
    }
}

/// Why the parts could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadPartsError {
    /// Tensors are missing, misshapen or not finite.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The model could not be built from them.
    #[error("cannot build the model: {0}")]
    Build(#[from] candle_core::Error),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] PromptError),
    /// The tokenizer belongs to another model.
    #[error("the tokenizer's last id is {last_id}, but the embedding table has {vocab_size} rows")]
    Vocabulary {
        /// Largest id that the tokenizer yields.
        last_id: u32,
        /// Rows of the table.
        vocab_size: usize,
    },
}

impl Parts {
    /// What can be known of a checkpoint before values are read: whether it has this service's tensors, and a tokenizer that
    /// fits them.
    ///
    /// # Errors
    /// As [`Parts::load`], but for values.
    pub fn judge(checkpoint: &Checkpoint) -> Result<(), LoadPartsError> {
        tokenizer(checkpoint)?;
        Ok(checkpoint.judge(&PARTS)?)
    }

    /// Loads this service's share of a checkpoint.
    ///
    /// # Errors
    /// When tensors are at fault, all of them named, or the tokenizer does not fit them.
    pub fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, LoadPartsError> {
        let config = &checkpoint.config().llm;
        let tokenizer = tokenizer(checkpoint)?;
        let tensors = options.load(checkpoint, &PARTS)?;
        let info = Info {
            llm_width: config.hidden_size,
            context_length: config.max_position_embeddings,
            vocab_size: config.vocab_size,
            weights_sha256: tensors.sha256().to_owned(),
            weight_bytes: options.weight_bytes(checkpoint, &PARTS),
            device: options.device_name(),
            notices: tensors.notices().to_vec(),
        };
        let model = Model::load(&options.build(&tensors), config)?;
        Ok(Self { model, tokenizer: Arc::new(tokenizer), info })
    }

    /// Sizes of the loaded model.
    pub fn info(&self) -> &Info {
        &self.info
    }
}

/// The checkpoint's tokenizer, whose ids must all have a row in the embedding table.
fn tokenizer(checkpoint: &Checkpoint) -> Result<PromptTokenizer, LoadPartsError> {
    let tokenizer = PromptTokenizer::from_json(&checkpoint.tokenizer()?)?;
    let (last_id, vocab_size) = (tokenizer.last_id(), checkpoint.config().llm.vocab_size);
    if last_id as usize >= vocab_size {
        return Err(LoadPartsError::Vocabulary { last_id, vocab_size });
    }
    Ok(tokenizer)
}
