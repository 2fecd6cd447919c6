//! The networks of this service, and what a caller may know about them.

use candle_core::Result;
use unipic_models::generation::{Settings, SynthesisModel};
use unipic_models::load::LoadOptions;
use unipic_models::vae;
use unipic_weights::{Checkpoint, LoadedTensors, Part, WeightsError};

use crate::image::RgbImage;

/// The parts of a checkpoint that this service loads.
pub const PARTS: [Part; 3] = [Part::Vae, Part::Mar, Part::Projectors];

/// Autoencoder, MAR, diffusion head and the projectors around the language model.
pub struct Parts {
    pub(crate) vae_encoder: vae::Encoder,
    pub(crate) vae_decoder: vae::Decoder,
    pub(crate) model: SynthesisModel,
    pub(crate) info: Info,
}

/// Sizes of the loaded parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Side of the image that the base grid stands for, in pixels.
    pub base_image_size: usize,
    /// Pixels per latent place and side.
    pub stride: usize,
    /// Buffer tokens K.
    pub n_buffers: usize,
    /// Width H of the language model that the projectors fit.
    pub llm_width: usize,
    /// The published number of head steps.
    pub default_head_steps: usize,
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
    /// Width and height of an image of these settings, in pixels.
    pub fn image_size(&self, settings: &Settings) -> (usize, usize) {
        (settings.grid.cols * self.stride, settings.grid.rows * self.stride)
    }

    /// What is wrong with an image that is to be encoded, if something is.
    pub fn image_problem(&self, image: &RgbImage, max_places: usize) -> Option<String> {
        let (width, height, stride) = (image.width, image.height, self.stride);
        if image.rgb.len() != 3 * width * height {
            return Some(format!("{} bytes are no RGB image of {width}×{height} px", image.rgb.len()));
        }
        if width == 0 || height == 0 || !width.is_multiple_of(stride) || !height.is_multiple_of(stride) {
            return Some(format!("sides must be multiples of {stride} px, not {width}×{height} px"));
        }
        let places = (width / stride) * (height / stride);
        (places > max_places).then(|| format!("{places} latent places; at most {max_places} are accepted"))
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
        Ok(checkpoint.judge(&PARTS)?)
    }

    /// Loads this service's share of a checkpoint.
    ///
    /// # Errors
    /// When tensors are at fault, all of them named, or the device refuses them.
    pub fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> std::result::Result<Self, LoadPartsError> {
        let tensors = options.load(checkpoint, &PARTS)?;
        Ok(Self::build(checkpoint, options, &tensors)?)
    }

    fn build(checkpoint: &Checkpoint, options: &LoadOptions, tensors: &LoadedTensors) -> Result<Self> {
        let (build, config) = (options.build(tensors), checkpoint.config());
        let info = Info {
            base_image_size: config.mar.img_size,
            stride: config.vae.stride(),
            n_buffers: config.mar.buffer_size,
            llm_width: config.llm.hidden_size,
            default_head_steps: config.mar.num_sampling_steps,
            weights_sha256: tensors.sha256().to_owned(),
            weight_bytes: options.weight_bytes(checkpoint, &PARTS),
            device: options.device_name(),
            notices: tensors.notices().to_vec(),
        };
        Ok(Self {
            vae_encoder: vae::Encoder::load(&build, &config.vae)?,
            vae_decoder: vae::Decoder::load(&build, &config.vae)?,
            model: SynthesisModel::load(&build, config)?,
            info,
        })
    }

    /// Sizes of the loaded parts.
    pub fn info(&self) -> &Info {
        &self.info
    }
}
