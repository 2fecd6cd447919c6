//! Generation: predict the masked places of images from the others and a prompt.

use candle_core::{Result, Tensor};
use unipic_models::mar::{Canvas, ImageGrid, LATENT_CHANNELS, Visible};

use super::head::{Targets, head_loss};
use super::packing::{Packing, Part, buffers_first};
use super::{Draws, Outcome, indices, latent_rows, places};
use crate::model::TrainModel;

/// A batch of images with their prompts.
#[derive(Clone, Debug)]
pub struct Generation<'a> {
    /// The grid of all images.
    pub grid: ImageGrid,
    /// Their latents `[B, N, 16]`, in raster order.
    pub latents: &'a Tensor,
    /// The ids of each image's prompt in its template, at their true length.
    pub prompts: &'a [Vec<u32>],
}

/// The generation loss: prompt and known places in one causal pass of the language model, then the head's loss on the
/// masked places. Places that are not masked have no weight in it and are not computed.
///
/// # Errors
/// When batch and draws do not fit each other, a token is beyond the vocabulary, or the device fails.
pub fn generate(model: &TrainModel, batch: &Generation, draws: &Draws) -> Result<Outcome> {
    let images = Masked::new(model, batch.grid, batch.latents, draws)?;
    predict(model, &images, batch.prompts)
}

/// The loss on the places that `images` predict.
pub(super) fn predict(model: &TrainModel, images: &Masked, prompts: &[Vec<u32>]) -> Result<Outcome> {
    images.check_count(prompts.len())?;
    let (mut packing, mut rows) = (Packing::default(), Vec::new());
    for (image, prompt) in prompts.iter().enumerate() {
        let [_, place] = packing.sequence([Part::Text(prompt), images.part(image)]);
        rows.extend(buffers_first(place, images.n_buffers));
    }
    let x_enc = images.encode(model)?;
    let (hidden, _) = packing.run(model, &[&model.proj_in.forward(&x_enc)?])?;
    let conditioned = condition(model, &x_enc, &hidden, rows)?;
    let z = model.decoder.forward(&conditioned, &images.canvases())?;
    Ok(Outcome { loss: images.loss(model, &z)?, shown: None, conditions: Some(z), named: None })
}

/// `x_enc + proj_out(hidden)`, of hidden states those of the encoding's rows.
pub(super) fn condition(model: &TrainModel, x_enc: &Tensor, hidden: &Tensor, rows: Vec<u32>) -> Result<Tensor> {
    let hidden = hidden.index_select(&indices(rows, model.device())?, 0)?;
    x_enc + model.proj_out.forward(&hidden)?
}

/// Images of which some places are masked.
pub(super) struct Masked<'a> {
    grid: ImageGrid,
    /// `[B·N, 16]`.
    latents: Tensor,
    draws: &'a Draws,
    /// Buffers K.
    pub(super) n_buffers: u32,
    /// Known places of every image.
    known: Vec<Vec<u32>>,
    /// Places of every image to be predicted.
    predicted: Vec<Vec<u32>>,
}

impl<'a> Masked<'a> {
    /// Splits the images' places; only masked places are predicted.
    pub(super) fn new(model: &TrainModel, grid: ImageGrid, latents: &Tensor, draws: &'a Draws) -> Result<Self> {
        let (latents, n_images) = latent_rows(latents, grid)?;
        draws.n_repeats(n_images * grid.n_places())?;
        let (known, predicted) = (places(&draws.masked, grid, false), places(&draws.masked, grid, true));
        Ok(Self { grid, latents, draws, n_buffers: model.encoder.n_buffers() as u32, known, predicted })
    }

    /// Images B.
    pub(super) fn n_images(&self) -> usize {
        self.known.len()
    }

    /// Whether there are as many prompts as images.
    pub(super) fn check_count(&self, n_prompts: usize) -> Result<()> {
        if n_prompts != self.n_images() {
            candle_core::bail!("{n_prompts} prompts for {} images", self.n_images());
        }
        Ok(())
    }

    /// The rows that [`Masked::encode`] makes of an image.
    pub(super) fn part(&self, image: usize) -> Part<'static> {
        let n_rows = |places: &Vec<u32>| self.n_buffers + places.len() as u32;
        Part::BuffersLast {
            first_row: self.known[..image].iter().map(n_rows).sum(),
            n_buffers: self.n_buffers,
            n_places: self.known[image].len() as u32,
        }
    }

    /// MAR's encoding of the known places, `[Σ(K + V), D]`.
    pub(super) fn encode(&self, model: &TrainModel) -> Result<Tensor> {
        let images: Vec<_> = self.known.iter().map(|places| Visible { grid: self.grid, places }).collect();
        let rows = self.packed(&self.known);
        let latents = match rows.is_empty() {
            true => None,
            false => Some(self.latents.index_select(&indices(rows, model.device())?, 0)?),
        };
        model.encoder.forward(latents.as_ref(), &images)
    }

    /// The images as MAR's decoder takes them.
    pub(super) fn canvases(&self) -> Vec<Canvas<'_>> {
        let images = self.known.iter().zip(&self.predicted);
        images.map(|(places, reveal)| Canvas { grid: self.grid, places, reveal, source: None }).collect()
    }

    /// The head's loss on conditions `z` `[ΣR, D]` of the predicted places.
    pub(super) fn loss(&self, model: &TrainModel, z: &Tensor) -> Result<Tensor> {
        let (device, draws) = (model.device(), self.draws);
        let (n_rows, n_places) = (draws.timesteps.len(), draws.masked.len());
        let kept = self.packed(&self.predicted);
        let rows: Vec<u32> =
            (0..n_rows as u32).step_by(n_places).flat_map(|first| kept.iter().map(move |row| first + row)).collect();
        let weights: Vec<f32> = kept.iter().map(|&row| if draws.masked[row as usize] { 1.0 } else { 0.0 }).collect();
        let timesteps: Vec<usize> = rows.iter().map(|&row| draws.timesteps[row as usize]).collect();
        let noise = Tensor::from_slice(&draws.noise, (n_rows, LATENT_CHANNELS), device)?;
        let noise = noise.index_select(&indices(rows, device)?, 0)?;
        let latents = self.latents.index_select(&indices(kept, device)?, 0)?;
        let targets = Targets { latents: &latents, weights: &weights, timesteps: &timesteps, noise: &noise };
        head_loss(&model.head, z, &targets)
    }

    /// The same images with every place predicted, known ones at no weight.
    #[cfg(test)]
    pub(super) fn predicting_all(mut self) -> Self {
        self.predicted = vec![self.grid.places(); self.n_images()];
        self
    }

    /// Places of all images as rows of `[B·N]`.
    fn packed(&self, places: &[Vec<u32>]) -> Vec<u32> {
        let n_places = self.grid.n_places() as u32;
        let images = places.iter().zip(0..);
        images.flat_map(|(places, image): (_, u32)| places.iter().map(move |place| image * n_places + place)).collect()
    }
}
