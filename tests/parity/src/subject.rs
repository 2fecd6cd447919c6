//! The model under test: every part, loaded from the folder by the product's own loader.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use unipic_imaging::{DecodeLimits, Rgb8};
use unipic_models::generation::SynthesisModel;
use unipic_models::load::LoadOptions;
use unipic_models::projector::Projector;
use unipic_models::prompt::PromptTokenizer;
use unipic_models::{qwen2, siglip2, vae};
use unipic_nn::{LinearFormat, Ops};
use unipic_weights::config::ModelConfig;
use unipic_weights::{Checkpoint, Layout, LoadedTensors, OpenOptions, Part};

/// All parts of a model in f32, which is what parity is judged in.
pub struct Subject {
    /// The folder that cases name files in.
    pub folder: PathBuf,
    /// Sizes.
    pub config: ModelConfig,
    /// Where it runs.
    pub device: Device,
    /// In which form the weights were read.
    pub layout: Layout,
    /// Hash of the weights.
    pub weights_sha256: String,
    /// The tokenizer.
    pub tokenizer: Arc<PromptTokenizer>,
    /// The content of its file.
    pub tokenizer_json: Vec<u8>,
    /// Pixels to latents.
    pub vae_encoder: vae::Encoder,
    /// Latents to pixels.
    pub vae_decoder: vae::Decoder,
    /// MAR, head and projectors, as the synthesis service holds them.
    pub synthesis: SynthesisModel,
    /// The language model.
    pub llm: qwen2::Model,
    /// Which operations these parts run on.
    pub ops: Ops,
    /// The weights, read when they are asked for.
    pub tensors: LoadedTensors,
    /// The understanding encoder and its projector, where the checkpoint has them.
    pub siglip: Option<(siglip2::Encoder, Projector)>,
}

impl Subject {
    /// Loads the model in `folder`.
    ///
    /// # Errors
    /// When there is no such checkpoint, or a tensor is missing, misshapen or not finite.
    pub fn load(folder: &Path, open: &OpenOptions, ops: Ops, device: Device) -> Result<Self> {
        let checkpoint = Checkpoint::open_with(folder, open)?;
        let options = LoadOptions { device, dtype: DType::F32, linear_format: LinearFormat::Dense, ops };
        let parts = checkpoint.parts();
        let tensors = options.load(&checkpoint, &parts)?;
        let (build, config) = (options.build(&tensors), checkpoint.config().clone());
        let siglip = match parts.contains(&Part::SiglipProjector) {
            true => Some((siglip2::Encoder::load(&build, &config.siglip)?, Projector::load_siglip(&build, &config)?)),
            false => None,
        };
        let tokenizer_json = checkpoint.tokenizer()?;
        Ok(Self {
            folder: folder.into(),
            device: options.device,
            tokenizer: Arc::new(PromptTokenizer::from_json(&tokenizer_json)?),
            tokenizer_json,
            vae_encoder: vae::Encoder::load(&build, &config.vae)?,
            vae_decoder: vae::Decoder::load(&build, &config.vae)?,
            synthesis: SynthesisModel::load(&build, &config)?,
            llm: qwen2::Model::load(&build, &config.llm)?,
            siglip,
            layout: checkpoint.layout(),
            weights_sha256: tensors.sha256().into(),
            ops,
            tensors,
            config,
        })
    }

    /// An image file of the folder.
    ///
    /// # Errors
    /// When it cannot be read or decoded.
    pub fn image(&self, name: &str) -> Result<Rgb8> {
        let bytes = std::fs::read(self.folder.join(name)).with_context(|| format!("cannot read {name}"))?;
        Ok(unipic_imaging::decode(&bytes, &DecodeLimits::default())?)
    }
}
