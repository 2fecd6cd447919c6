//! The networks that the synthesis service holds, over packed inputs of several generations.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use unipic_nn::Build;
use unipic_nn::activation::add;
use unipic_weights::config::ModelConfig;

use crate::diffusion::Head;
use crate::mar::{self, Canvas, ImageGrid, LATENT_CHANNELS, Visible};
use crate::projector::Projector;

/// MAR, the diffusion head and the projectors to and from the language model.
#[derive(Clone, Debug)]
pub struct SynthesisModel {
    /// MAR's encoder.
    pub encoder: mar::Encoder,
    /// MAR's decoder.
    pub decoder: mar::Decoder,
    /// The diffusion head.
    pub head: Head,
    /// From MAR into the language model.
    pub proj_in: Projector,
    /// From the language model to MAR.
    pub proj_out: Projector,
}

/// The known places of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodeInput {
    /// The image's grid.
    pub grid: ImageGrid,
    /// Its known places V in raster order.
    pub places: Vec<u32>,
    /// Their latents `[V, 16]`.
    pub latents: Vec<f32>,
}

/// The encoding of an image's known places.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// `[K + V, D]`, buffers first, as MAR has them.
    pub x_enc: Tensor,
    /// `[K + V, H]`, buffers last, as the language model has them.
    pub z_enc: Tensor,
}

/// An image of one guidance branch, ready to be decoded.
#[derive(Clone, Debug)]
pub struct DecodeInput {
    /// The image's grid.
    pub grid: ImageGrid,
    /// Its known places V in raster order.
    pub places: Vec<u32>,
    /// The places R to reveal in raster order.
    pub reveal: Vec<u32>,
    /// MAR's encoding `[K + V, D]`, buffers first.
    pub x_enc: Tensor,
    /// The language model's hidden states of the same rows, `[K + V, H]`, buffers last.
    pub hidden: Tensor,
    /// The source image, in an edit.
    pub source: Option<Source>,
}

/// What the diffusion head needs to know of the places to reveal.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The decoder's output `[R, D]`.
    pub z: Tensor,
    /// The head's embedding of it, `[R, width]`; the same in all head steps.
    pub condition: Tensor,
}

/// The source image of an edit, encoded with nothing masked. Cloning shares the tensors.
#[derive(Clone, Debug)]
pub struct Source {
    /// The image's grid.
    pub grid: ImageGrid,
    /// MAR's encoding `[K + N, D]`, buffers first.
    pub x_con: Tensor,
    /// For the language model, `[N + K, H]`, buffers last.
    pub z_full: Tensor,
    /// The decoder's embedding of `x_con`, `[K + N, D]`, which masked places hold in every iteration.
    pub embedded: Tensor,
    /// The image's own latents `[N, 16]`, on the host: what an edit with a mask keeps.
    pub latents: Arc<[f32]>,
}

impl EncodeInput {
    /// An image of which everything is known, from its latents `[m, n, 16]`.
    ///
    /// # Errors
    /// When the tensor has another shape.
    pub fn known(latents: &Tensor) -> Result<Self> {
        let (rows, cols, channels) = latents.dims3()?;
        if channels != LATENT_CHANNELS {
            candle_core::bail!("latents of {channels} channels");
        }
        let grid = ImageGrid { rows, cols };
        let latents = latents.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(Self { grid, places: grid.places(), latents })
    }
}

impl SynthesisModel {
    /// Loads all parts; `build` stands at the root of the checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &ModelConfig) -> Result<Self> {
        Ok(Self {
            encoder: mar::Encoder::load(build, &config.mar)?,
            decoder: mar::Decoder::load(build, &config.mar)?,
            head: Head::load(build, &config.mar)?,
            proj_in: Projector::load_in(build, config)?,
            proj_out: Projector::load_out(build, config)?,
        })
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        self.encoder.device()
    }

    /// Encodes images in one packed pass, in their order; their grids may differ.
    ///
    /// # Errors
    /// When values or places do not fit, or the device fails.
    pub fn encode(&self, inputs: &[EncodeInput]) -> Result<Vec<Encoded>> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        for input in inputs {
            if input.latents.len() != input.places.len() * LATENT_CHANNELS {
                candle_core::bail!("{} latent values for {} places", input.latents.len(), input.places.len());
            }
        }
        let images: Vec<_> = inputs.iter().map(|i| Visible { grid: i.grid, places: &i.places }).collect();
        let values: Vec<f32> = inputs.iter().flat_map(|i| &i.latents).copied().collect();
        let n_visible = values.len() / LATENT_CHANNELS;
        let latents = (n_visible > 0).then(|| Tensor::from_vec(values, (n_visible, LATENT_CHANNELS), self.device()));
        let x_enc = self.encoder.forward(latents.transpose()?.as_ref(), &images)?;
        let z_enc = self.proj_in.forward(&x_enc)?;
        let mut first = 0;
        let split = |image: &Visible| {
            let n = self.encoder.n_buffers() + image.places.len();
            let (x_enc, z_enc) = (x_enc.narrow(0, first, n)?, z_enc.narrow(0, first, n)?);
            first += n;
            Ok(Encoded { x_enc, z_enc: rotate_rows(&z_enc, self.encoder.n_buffers())? })
        };
        images.iter().map(split).collect()
    }

    /// Encodes the source image of an edit, latents `[m, n, 16]`.
    ///
    /// # Errors
    /// When the shape does not fit or the device fails.
    pub fn source(&self, latents: &Tensor) -> Result<Source> {
        let input = EncodeInput::known(latents)?;
        let (grid, latents) = (input.grid, Arc::from(input.latents.as_slice()));
        let Some(Encoded { x_enc, z_enc }) = self.encode(&[input])?.pop() else {
            candle_core::bail!("the source image was not encoded")
        };
        Ok(Source { grid, embedded: self.decoder.embed(&x_enc)?, x_con: x_enc, z_full: z_enc, latents })
    }

    /// MAR's encoding conditioned by the language model: `x_enc + proj_out(hidden)`, buffers first.
    ///
    /// Shapes: → `[Σ(K + V), D]`, input after input.
    ///
    /// # Errors
    /// When rows do not fit or the device fails.
    pub fn conditioned(&self, inputs: &[DecodeInput]) -> Result<Tensor> {
        let packed = |of: fn(&DecodeInput) -> &Tensor| Tensor::cat(&inputs.iter().map(of).collect::<Vec<_>>(), 0);
        let (x_enc, hidden) = (packed(|i| &i.x_enc)?, packed(|i| &i.hidden)?);
        let back = self.proj_out.forward(&hidden)?;
        let mut first = 0;
        let fronted = inputs.iter().map(|input| {
            let n = self.encoder.n_buffers() + input.places.len();
            let rows = rotate_rows(&back.narrow(0, first, n)?, input.places.len());
            first += n;
            rows
        });
        add(&x_enc, &Tensor::cat(&fronted.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// Decodes images, one per guidance branch, in one packed pass and in their order.
    ///
    /// # Errors
    /// When rows, places or sources do not fit, or the device fails.
    pub fn decode(&self, inputs: &[DecodeInput]) -> Result<Vec<Decoded>> {
        if inputs.iter().all(|i| i.reveal.is_empty()) {
            candle_core::bail!("no place to reveal");
        }
        let canvas = |i| {
            let DecodeInput { grid, places, reveal, source, .. }: &DecodeInput = i;
            Canvas { grid: *grid, places, reveal, source: source.as_ref().map(|s| &s.embedded) }
        };
        let canvases: Vec<_> = inputs.iter().map(canvas).collect();
        let z = self.decoder.forward(&self.conditioned(inputs)?, &canvases)?;
        let condition = self.head.embed_condition(&z)?;
        let mut first = 0;
        let split = |input: &DecodeInput| {
            let n = input.reveal.len();
            let decoded = Decoded { z: z.narrow(0, first, n)?, condition: condition.narrow(0, first, n)? };
            first += n;
            Ok(decoded)
        };
        inputs.iter().map(split).collect()
    }
}

/// The language model's rows of an iteration: every image's, conditional branch first, `[branches·n·(K + V), H]`.
///
/// # Errors
/// When the device fails.
pub fn probe_rows(encoded: &[Encoded], n_branches: usize) -> Result<Tensor> {
    let rows: Vec<&Tensor> = (0..n_branches).flat_map(|_| encoded.iter().map(|e| &e.z_enc)).collect();
    Tensor::cat(&rows, 0)
}

/// The first `n` rows moved behind the others.
fn rotate_rows(x: &Tensor, n: usize) -> Result<Tensor> {
    let rest = x.dim(0)? - n;
    Tensor::cat(&[&x.narrow(0, n, rest)?, &x.narrow(0, 0, n)?], 0)
}
