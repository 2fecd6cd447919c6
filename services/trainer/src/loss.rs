//! The published training losses (model page, section 10), as functions of a model, a batch and random choices.
//!
//! Nothing here draws anything: masks, timesteps and noise come in as values ([`Draws`]), so that a recorded step can be
//! replayed, and a run continued to the bit. Nothing is padded either. A batch is one packed matrix per part, and wherever
//! rows of different origin meet (a prompt and its image, buffers from front to back) there is a single gather with
//! indices worked out beforehand: a chain of slices and concatenations per image would have a backward pass over the
//! whole matrix for each of its links.

mod edit;
mod generate;
pub mod head;
mod packing;
pub mod readout;
#[cfg(test)]
mod tests;
mod understand;

use candle_core::{Result, Tensor};
use unipic_models::mar::{ImageGrid, LATENT_CHANNELS};

pub use edit::{Edit, edit};
pub use generate::{Generation, generate};
pub use understand::{Images, Understanding, shown, understand};

/// A task's loss, and what the model made of the images on the way to it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The published loss; scalar f32.
    pub loss: Tensor,
    /// Images that are inputs as the language model is shown them, `[B·N, H]` in raster order; none in generation.
    pub shown: Option<Tensor>,
    /// What the diffusion head is told about each masked place, `[ΣR, D]`, image after image in raster order; none in
    /// understanding.
    pub conditions: Option<Tensor>,
    /// The states of words that name something, as the language model's last layer reads them: `[ΣM, H]`, of all
    /// [`AroundImage::named`] in order; none where there are none.
    pub named: Option<Tensor>,
}

/// How much of the gradient passes into the embeddings of an image that is an input: an edit's source, and MAR's encoding
/// of an image to be understood.
pub const INPUT_GRADIENT: f64 = 0.1;

/// The ids of a prompt that has an image in it, at their true length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AroundImage {
    /// Those before the image.
    pub before: Vec<u32>,
    /// Those behind it.
    pub after: Vec<u32>,
    /// Which of those behind name something that the image shows, or may show.
    pub named: Vec<usize>,
}

/// The random choices of one generation or edit loss over B images of N places.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    /// Whether a place is masked, `[B·N]`, image after image in raster order.
    pub masked: Vec<bool>,
    /// Timesteps of the full schedule for every repetition and place, `[n_repeats·B·N]`, repetition after repetition.
    pub timesteps: Vec<usize>,
    /// Noise of the same rows, `[n_repeats·B·N·16]`.
    pub noise: Vec<f32>,
}

impl Draws {
    /// How often every place is noised.
    ///
    /// # Errors
    /// When the three do not fit each other or `n_places`, the places of all images, or nothing is masked.
    pub fn n_repeats(&self, n_places: usize) -> Result<usize> {
        let Self { masked, timesteps, noise } = self;
        let n_repeats = timesteps.len() / n_places.max(1);
        if masked.len() != n_places || timesteps.len() != n_repeats * n_places || n_repeats == 0 {
            let (masked, timesteps) = (masked.len(), timesteps.len());
            candle_core::bail!("draws of {masked} mask values and {timesteps} timesteps for {n_places} places");
        }
        if noise.len() != timesteps.len() * LATENT_CHANNELS {
            candle_core::bail!("{} noise values for {} timesteps", noise.len(), timesteps.len());
        }
        if !masked.contains(&true) {
            candle_core::bail!("no place is masked: there is nothing to predict");
        }
        Ok(n_repeats)
    }
}

/// Σ weight·loss over the tasks of a step; scalar.
///
/// # Errors
/// When there is no loss, or one is not a scalar.
pub fn total(losses: &[(f64, Tensor)]) -> Result<Tensor> {
    let weighted = losses.iter().map(|(weight, loss)| loss * *weight);
    let Some(total) = weighted.reduce(|a, b| a? + b?) else { candle_core::bail!("a step without a task") };
    let total = total?;
    if total.rank() != 0 {
        candle_core::bail!("losses have to be scalars, not {:?}", total.shape());
    }
    Ok(total)
}

/// The rows of `states` where words name something, if any do; each prompt comes with the row of its first id behind
/// the image.
fn named<'a>(states: &Tensor, prompts: impl Iterator<Item = (&'a AroundImage, u32)>) -> Result<Option<Tensor>> {
    let mut rows = Vec::new();
    for (prompt, first) in prompts {
        if let Some(beyond) = prompt.named.iter().find(|&&at| at >= prompt.after.len()) {
            candle_core::bail!("word {beyond} of {} behind an image names something", prompt.after.len());
        }
        rows.extend(prompt.named.iter().map(|&at| first + at as u32));
    }
    if rows.is_empty() {
        return Ok(None);
    }
    states.index_select(&indices(rows, states.device())?, 0).map(Some)
}

/// The same values, of whose gradient only `factor` passes.
fn scale_gradient(x: &Tensor, factor: f64) -> Result<Tensor> {
    (x * factor)? + (x.detach() * (1.0 - factor))?
}

/// Of every image the places that are (`which`) masked or are not, in raster order, from a mask `[B·N]`.
fn places(masked: &[bool], grid: ImageGrid, which: bool) -> Vec<Vec<u32>> {
    let of_image = |image: &[bool]| {
        let places = image.iter().zip(0..).filter(|(masked, _)| **masked == which);
        places.map(|(_, place)| place).collect()
    };
    masked.chunks(grid.n_places().max(1)).map(of_image).collect()
}

/// Latents `[B, N, 16]` as rows `[B·N, 16]` in f32, and B.
fn latent_rows(latents: &Tensor, grid: ImageGrid) -> Result<(Tensor, usize)> {
    let (n_images, n_places, n_channels) = latents.dims3()?;
    if (n_places, n_channels) != (grid.n_places(), LATENT_CHANNELS) || n_images * n_places == 0 {
        candle_core::bail!("latents {:?} are no images of {grid:?}", latents.shape());
    }
    Ok((latents.to_dtype(candle_core::DType::F32)?.reshape((n_images * n_places, n_channels))?, n_images))
}

/// Row numbers as a tensor.
fn indices(rows: Vec<u32>, device: &candle_core::Device) -> Result<Tensor> {
    let n_rows = rows.len();
    Tensor::from_vec(rows, n_rows, device)
}
