//! The networks of this service, and how they run on the device's thread.

use bytes::Bytes;
use candle_core::{DType, Result, Tensor};
use unipic_api::pb;
use unipic_engine::{Computed, Exhausted, JobError, Worker};
use unipic_models::Handover;
use unipic_models::load::LoadOptions;
use unipic_models::projector::Projector;
use unipic_models::siglip2;
use unipic_models::vae::pixels_from_u8;
use unipic_nn::is_out_of_memory;
use unipic_weights::{Checkpoint, Part, WeightsError};

/// The parts of a checkpoint that this service loads.
pub const PARTS: [Part; 2] = [Part::Siglip, Part::SiglipProjector];

/// The vision tower and its projector.
pub struct Parts {
    encoder: Option<(siglip2::Encoder, Projector)>,
    info: Info,
    options: LoadOptions,
}

/// Sizes of the loaded encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// False when the checkpoint has no projector for SigLIP2; then nothing can be encoded.
    pub available: bool,
    /// Side S of the square input, in pixels.
    pub image_size: usize,
    /// Embeddings per image.
    pub n_tokens: usize,
    /// Width H of an embedding.
    pub llm_width: usize,
    /// SHA-256 of the loaded tensors, in hexadecimal; empty when there are none.
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
    pub fn message(&self) -> pb::GetUnderstandingInfoResponse {
        pb::GetUnderstandingInfoResponse {
            available: self.available,
            image_size: self.image_size as u32,
            n_tokens: self.n_tokens as u32,
            llm_width: self.llm_width as u32,
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
    Weights(Box<WeightsError>),
    /// A part could not be built from them.
    #[error("cannot build the model: {0}")]
    Build(#[from] candle_core::Error),
}

impl From<WeightsError> for LoadPartsError {
    fn from(error: WeightsError) -> Self {
        Self::Weights(Box::new(error))
    }
}

impl Parts {
    /// What can be known of a checkpoint before values are read: whether it has this service's tensors.
    ///
    /// # Errors
    /// As [`Parts::load`], but for values.
    pub fn judge(checkpoint: &Checkpoint) -> std::result::Result<(), LoadPartsError> {
        if checkpoint.has(Part::SiglipProjector) {
            checkpoint.judge(&PARTS)?;
        }
        Ok(())
    }

    /// Loads this service's share of a checkpoint.
    ///
    /// # Errors
    /// When tensors are at fault, all of them named, or the device refuses them. A checkpoint without any projector
    /// tensor is no error.
    pub fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> std::result::Result<Self, LoadPartsError> {
        let config = checkpoint.config();
        let mut info = Info {
            available: checkpoint.has(Part::SiglipProjector),
            image_size: config.siglip.image_size,
            n_tokens: config.siglip.n_tokens(),
            llm_width: config.llm.hidden_size,
            weights_sha256: String::new(),
            weight_bytes: 0,
            device: options.device_name(),
            notices: checkpoint.notices().to_vec(),
        };
        let options = options.clone();
        if !info.available {
            return Ok(Self { encoder: None, info, options });
        }
        let tensors = options.load(checkpoint, &PARTS)?;
        info.weights_sha256 = tensors.sha256().to_owned();
        info.weight_bytes = options.weight_bytes(checkpoint, &PARTS);
        let build = options.build(&tensors);
        let encoder = siglip2::Encoder::load(&build, &config.siglip)?;
        let projector = Projector::load_siglip(&build, config)?;
        Ok(Self { encoder: Some((encoder, projector)), info, options })
    }

    /// Sizes of the loaded encoder.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Embeddings of RGB images `[S, S, 3]`, each `[n_tokens, H]`, in one packed pass.
    fn encode(&self, images: &[Bytes]) -> Result<Vec<Tensor>> {
        let Some((encoder, projector)) = &self.encoder else { candle_core::bail!("no vision tower is loaded") };
        let (side, n) = (self.info.image_size, self.info.n_tokens);
        let pixels = images.iter().map(|rgb| pixels_from_u8(rgb, side, side, &self.options.device));
        let pixels = Tensor::cat(&pixels.collect::<Result<Vec<_>>>()?, 0)?;
        let embeddings = projector.forward(&encoder.forward_packed(&pixels)?)?;
        (0..images.len()).map(|i| embeddings.narrow(0, i * n, n)).collect()
    }
}

/// An image to encode.
pub(crate) struct Job {
    pub(crate) rgb: Bytes,
    pub(crate) handover: Handover,
}

/// The device thread's side of the service.
pub(crate) struct EncodeWorker(pub(crate) Parts);

impl Worker for EncodeWorker {
    type Job = Job;
    /// None when an embedding is not finite.
    type Reply = Option<Tensor>;

    fn tokens(&self, _: &Job) -> usize {
        self.0.info.n_tokens
    }

    fn kind(&self, _: &Job) -> u32 {
        0
    }

    fn kind_name(&self, _: u32) -> &'static str {
        "siglip2"
    }

    fn run(&mut self, jobs: Vec<Job>) -> Computed<Job, Option<Tensor>> {
        let images: Vec<Bytes> = jobs.iter().map(|job| job.rgb.clone()).collect();
        let finish = |embeddings: &Tensor, job: &Job| {
            let is_finite = embeddings.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?.is_finite();
            is_finite.then(|| job.handover.apply(embeddings)).transpose()
        };
        match self.0.encode(&images) {
            Ok(all) => Ok(all.iter().zip(&jobs).map(|(x, job)| finish(x, job).map_err(JobError::new)).collect()),
            Err(error) if is_out_of_memory(&error) => Err(Exhausted { jobs, reason: error.to_string() }),
            Err(error) => Ok(jobs.iter().map(|_| Err(JobError::new(&error))).collect()),
        }
    }
}
