//! The model as training sees it: every part that has weights to learn, in one place.
//!
//! There is no second copy of a network here. The parts are those that the services load; what makes them trainable is
//! what they are built from: tensors that are variables, and operations through which gradients pass. A part is frozen by
//! building it from detached tensors. Variables are updated in place, so a model built once follows its variables through
//! all steps. The autoencoder is not here, because the losses begin at latents: it is frozen in all stages.

use std::sync::Arc;

use candle_core::{Device, Result};
use unipic_models::diffusion::Head;
use unipic_models::projector::Projector;
use unipic_models::{mar, qwen2, siglip2};
use unipic_nn::{Build, Dropout};
use unipic_weights::config::ModelConfig;

/// All parts but the autoencoder. A copy shares the weights.
#[derive(Clone)]
pub struct TrainModel {
    /// MAR's encoder.
    pub encoder: mar::Encoder,
    /// The same for images that are inputs, of which nothing is masked: its passes drop values of their own.
    pub input_encoder: mar::Encoder,
    /// MAR's decoder.
    pub decoder: mar::Decoder,
    /// The diffusion head.
    pub head: Head,
    /// From MAR into the language model.
    pub proj_in: Projector,
    /// From the language model to MAR.
    pub proj_out: Projector,
    /// The language model.
    pub llm: Arc<qwen2::Model>,
    /// The understanding encoder.
    pub siglip: Arc<siglip2::Encoder>,
    /// From the understanding encoder into the language model.
    pub siglip_proj: Projector,
    /// Sizes.
    pub config: ModelConfig,
}

impl TrainModel {
    /// Builds all parts; `build` stands at the root of the checkpoint and serves variables, or detached tensors for what
    /// is frozen.
    ///
    /// # Errors
    /// When the operations are not differentiable, or a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &ModelConfig) -> Result<Self> {
        if !build.ops.is_differentiable() {
            candle_core::bail!("no gradient passes through {:?} operations: build for training", build.ops);
        }
        let encoder = mar::Encoder::load(build, &config.mar)?;
        Ok(Self {
            input_encoder: encoder.clone(),
            encoder,
            decoder: mar::Decoder::load(build, &config.mar)?,
            head: Head::load(build, &config.mar)?,
            proj_in: Projector::load_in(build, config)?,
            proj_out: Projector::load_out(build, config)?,
            llm: Arc::new(qwen2::Model::load(build, &config.llm)?),
            siglip: Arc::new(siglip2::Encoder::load(build, &config.siglip)?),
            siglip_proj: Projector::load_siglip(build, config)?,
            config: config.clone(),
        })
    }

    /// The same model with dropout in MAR, for one micro-batch: all masks follow from the key. Published with a rate of 0.1
    /// (model page, section 10).
    #[must_use]
    pub fn with_dropout(&self, dropout: Option<Dropout>) -> Self {
        let at = |place| dropout.map(|dropout| dropout.at(place));
        Self {
            encoder: self.encoder.with_dropout(at(0)),
            input_encoder: self.encoder.with_dropout(at(1)),
            decoder: self.decoder.with_dropout(at(2)),
            ..self.clone()
        }
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        self.encoder.device()
    }
}
