//! Editing: predict the masked places of images from the others, a source image and an instruction.

use candle_core::{Result, Tensor};
use unipic_models::mar::{ImageGrid, Visible};

use super::generate::{Masked, condition};
use super::packing::{Packing, Part, buffers_first};
use super::{AroundImage, Draws, Outcome, indices, latent_rows, named, scale_gradient};
use crate::model::TrainModel;

/// A batch of edits.
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    /// The grid of all images, sources included.
    pub grid: ImageGrid,
    /// Latents of the edited images `[B, N, 16]`, in raster order.
    pub latents: &'a Tensor,
    /// Latents of their sources, of the same shape.
    pub sources: &'a Tensor,
    /// Each edit's prompt in its template, around the source's place.
    pub prompts: &'a [AroundImage],
    /// How much of the gradient passes into the sources' encodings; [`INPUT_GRADIENT`](super::INPUT_GRADIENT) as
    /// published.
    pub input_gradient: f64,
}

/// The editing loss: as in generation, with the source's encoding in the prompt and at the masked places. Of the gradient
/// with respect to both, `input_gradient` passes on.
///
/// # Errors
/// When batch and draws do not fit each other, a token is beyond the vocabulary, or the device fails.
pub fn edit(model: &TrainModel, batch: &Edit, draws: &Draws) -> Result<Outcome> {
    let images = Masked::new(model, batch.grid, batch.latents, draws)?;
    images.check_count(batch.prompts.len())?;
    if batch.sources.dims() != batch.latents.dims() {
        candle_core::bail!("sources {:?} of images {:?}", batch.sources.shape(), batch.latents.shape());
    }
    let source = encode_whole(model, batch.sources, batch.grid, batch.input_gradient)?;
    let x_enc = images.encode(model)?;
    let n_encoded = x_enc.dim(0)? as u32;
    let (mut packing, mut rows, mut asked) = (Packing::default(), Vec::new(), Vec::new());
    for (image, prompt) in batch.prompts.iter().enumerate() {
        let source = source.part(image, n_encoded);
        let (before, after) = (Part::Text(&prompt.before), Part::Text(&prompt.after));
        let [_, _, behind, place] = packing.sequence([before, source, after, images.part(image)]);
        asked.push((prompt, behind.start));
        rows.extend(buffers_first(place, images.n_buffers));
    }
    let (hidden, watched) = packing.run(model, &[&model.proj_in.forward(&x_enc)?, &source.z_full])?;
    let conditioned = condition(model, &x_enc, &hidden, rows)?;
    let embedded = model.decoder.embed(&source.x_con)?;
    let z = model.decoder.forward_over(&conditioned, &embedded, &images.canvases())?;
    let named = named(&watched, asked.into_iter())?;
    Ok(Outcome { loss: images.loss(model, &z)?, shown: Some(source.places()?), conditions: Some(z), named })
}

/// Images of which everything is known, encoded; gradients are scaled.
pub(super) struct Whole {
    /// MAR's encoding `[B·(K + N), D]`, buffers first.
    pub(super) x_con: Tensor,
    /// For the language model, `[B·(K + N), H]`, buffers still first.
    pub(super) z_full: Tensor,
    n_buffers: u32,
    n_places: u32,
}

impl Whole {
    /// The places of all images for the language model, without their buffers: `[B·N, H]`.
    pub(super) fn places(&self) -> Result<Tensor> {
        let n_rows = self.z_full.dim(0)? as u32;
        let of_place = |row: &u32| row % (self.n_buffers + self.n_places) >= self.n_buffers;
        self.z_full.index_select(&indices((0..n_rows).filter(of_place).collect(), self.z_full.device())?, 0)
    }

    /// The rows of an image where its matrix comes after `n_before` others.
    pub(super) fn part(&self, image: usize, n_before: u32) -> Part<'static> {
        let first_row = n_before + image as u32 * (self.n_buffers + self.n_places);
        Part::BuffersLast { first_row, n_buffers: self.n_buffers, n_places: self.n_places }
    }
}

/// Encodes latents `[B, N, 16]` with nothing masked; of the gradient, `passed` goes on.
pub(super) fn encode_whole(model: &TrainModel, latents: &Tensor, grid: ImageGrid, passed: f64) -> Result<Whole> {
    let (latents, n_images) = latent_rows(latents, grid)?;
    let places = grid.places();
    let encoded = model.input_encoder.forward(Some(&latents), &vec![Visible { grid, places: &places }; n_images])?;
    Ok(Whole {
        x_con: scale_gradient(&encoded, passed)?,
        z_full: scale_gradient(&model.proj_in.forward(&encoded)?, passed)?,
        n_buffers: model.encoder.n_buffers() as u32,
        n_places: places.len() as u32,
    })
}
