//! The state of a generation between iterations.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::head_noise::HeadNoise;
use super::iteration::{ImagePlaces, Iteration, n_masked_next};
use super::model::{DecodeInput, Decoded, EncodeInput, Encoded, Source};
use super::settings::redrawn_problem;
use super::{GenerationError, Settings};
use crate::diffusion::noise::{CounterDraws, Draws, PlaceDraw};
use crate::diffusion::{DrawsError, HeadState};
use crate::mar::LATENT_CHANNELS;

/// The images of one request while they are generated.
#[derive(Debug)]
pub struct Generation {
    settings: Settings,
    source: Option<Source>,
    draws: Arc<dyn Draws>,
    /// Of every image the places; those that stay unknown longest come first, those that are kept last.
    orders: Vec<Vec<u32>>,
    /// Of every image `[N, 16]`; zero where unknown.
    latents: Vec<Vec<f32>>,
    /// Places of each image that are unknown at the start.
    n_drawn: usize,
    n_masked: usize,
    /// The iteration to look at next; it is skipped when it would reveal nothing.
    next_index: usize,
}

/// How far a generation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Iterations done or skipped.
    pub iteration: usize,
    /// Iterations in all.
    pub n_iterations: usize,
    /// Known places of each image.
    pub n_known: usize,
    /// Places of each image.
    pub n_places: usize,
}

impl Generation {
    /// A generation before its first iteration, with all places unknown. With a source image it is an edit.
    ///
    /// # Errors
    /// When the settings allow no image, the source is of another grid, or there are no draws for an image.
    pub fn new(settings: Settings, source: Option<Source>, draws: Box<dyn Draws>) -> Result<Self, GenerationError> {
        settings.check()?;
        if source.as_ref().is_some_and(|s| s.grid != settings.grid) {
            return Err(GenerationError::Mismatch("the source image is of another grid".into()));
        }
        let n_places = settings.grid.n_places();
        let order = |image: usize| checked_order(draws.order(settings.first_image + image as u32, n_places)?, n_places);
        let orders = (0..settings.n_images).map(order).collect::<Result<_, _>>()?;
        let latents = vec![vec![0.0; n_places * LATENT_CHANNELS]; settings.n_images];
        let (n_drawn, n_masked) = (n_places, n_places);
        let draws = Arc::from(draws);
        Ok(Self { settings, source, draws, orders, latents, n_drawn, n_masked, next_index: 0 })
    }

    /// The same with the draws of the settings' seed.
    ///
    /// # Errors
    /// As [`Generation::new`].
    pub fn seeded(settings: Settings, source: Option<Source>) -> Result<Self, GenerationError> {
        let draws = CounterDraws::new(settings.seed);
        Self::new(settings, source, Box::new(draws))
    }

    /// The same edit, before its first iteration, drawing only these places (in raster order): everywhere else the
    /// source's latents are known from the start and stay as they are. Places are drawn in the order they would have among
    /// all, and the schedules of masking and guidance run over them alone.
    ///
    /// # Errors
    /// When there is no source, or the places are none or not on the grid.
    pub fn redrawing(mut self, places: &[u32]) -> Result<Self, GenerationError> {
        let refuse = |problem| GenerationError::Setting { field: "redrawn_places", problem };
        let source = self.source.as_ref().ok_or_else(|| refuse("need a source image to keep the rest of".into()))?;
        if let Some(problem) = redrawn_problem(places, self.settings.grid) {
            return Err(refuse(problem));
        }
        let is_redrawn = |place: &u32| places.binary_search(place).is_ok();
        for (order, latents) in self.orders.iter_mut().zip(&mut self.latents) {
            let (redrawn, kept): (Vec<u32>, Vec<u32>) = order.iter().partition(|place| is_redrawn(place));
            for &place in &kept {
                latents[channels_of(place)].copy_from_slice(&source.latents[channels_of(place)]);
            }
            *order = [redrawn, kept].concat();
        }
        (self.n_drawn, self.n_masked) = (places.len(), places.len());
        Ok(self)
    }

    /// What was asked for.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Guidance branches of every iteration.
    pub fn n_branches(&self) -> usize {
        self.settings.n_branches()
    }

    /// The next iteration that reveals something; none when all places are known. Asking again gives the same until
    /// [`Generation::reveal`].
    pub fn next(&self) -> Option<Iteration> {
        if self.n_masked == 0 {
            return None;
        }
        let n_iterations = self.settings.iterations;
        let is_last = |index: usize| index + 1 >= n_iterations;
        let next_count = |index| n_masked_next(self.n_masked, self.n_drawn, index, n_iterations);
        // Only a single unknown place can be left alone, and it stays the only one until the last iteration reveals it.
        let stays = |index: &usize| !is_last(*index) && next_count(*index) == self.n_masked;
        let index = if stays(&self.next_index) { n_iterations - 1 } else { self.next_index };
        let n_left = if is_last(index) { 0 } else { next_count(index) };
        let images = self.orders.iter().map(|order| ImagePlaces::split(order, self.n_masked, n_left)).collect();
        // The published schedule takes the count by formula, which is 1 in the last iteration too.
        let guidance = self.settings.guidance(next_count(index), self.n_drawn);
        Some(Iteration { index, guidance, n_masked: self.n_masked, n_revealed: self.n_masked - n_left, images })
    }

    /// Inputs of [`SynthesisModel::encode`](super::SynthesisModel::encode), one per image.
    pub fn encode_inputs(&self, iteration: &Iteration) -> Vec<EncodeInput> {
        let input = |(places, latents): (&ImagePlaces, &Vec<f32>)| EncodeInput {
            grid: self.settings.grid,
            places: places.known.clone(),
            latents: places.known.iter().flat_map(|&p| &latents[channels_of(p)]).copied().collect(),
        };
        iteration.images.iter().zip(&self.latents).map(input).collect()
    }

    /// Inputs of [`SynthesisModel::decode`](super::SynthesisModel::decode): one per image and branch, conditional images
    /// first. `hidden` are the language model's hidden states `[branches·n·(K + V), H]` in the same order, every image's
    /// buffers last.
    ///
    /// # Errors
    /// When the rows do not fit.
    pub fn decode_inputs(
        &self,
        iteration: &Iteration,
        encoded: &[Encoded],
        hidden: &Tensor,
    ) -> Result<Vec<DecodeInput>, GenerationError> {
        let n_rows = encoded.iter().map(|e| e.x_enc.dim(0)).sum::<candle_core::Result<usize>>()?;
        if encoded.len() != iteration.images.len() || hidden.dim(0)? != self.n_branches() * n_rows {
            let got = (encoded.len(), n_rows, hidden.dims().to_vec());
            return Err(GenerationError::Mismatch(format!("images, rows and hidden states do not fit: {got:?}")));
        }
        let mut first = 0;
        let mut inputs = Vec::with_capacity(self.n_branches() * encoded.len());
        for _ in 0..self.n_branches() {
            for (encoded, places) in encoded.iter().zip(&iteration.images) {
                let n = encoded.x_enc.dim(0)?;
                inputs.push(DecodeInput {
                    grid: self.settings.grid,
                    places: places.known.clone(),
                    reveal: places.reveal.clone(),
                    x_enc: encoded.x_enc.clone(),
                    hidden: hidden.narrow(0, first, n)?,
                    source: self.source.clone(),
                });
                first += n;
            }
        }
        Ok(inputs)
    }

    /// The rows to sample, before their first head step: places to reveal, images first, then raster order. `decoded` are
    /// the results of [`Generation::decode_inputs`] in their order.
    ///
    /// # Errors
    /// When the rows do not fit or there are no draws for a place.
    pub fn head_state(&self, iteration: &Iteration, decoded: &[Decoded]) -> Result<HeadState, GenerationError> {
        let init = self.draw(iteration, |image, place| self.draws.init(image, iteration.index, place))?;
        let conditions = decoded.iter().map(|d| d.condition.clone()).collect();
        let (n_steps, temperature) = (self.settings.head_steps, self.settings.temperature as f32);
        Ok(HeadState::new(init, conditions, n_steps, iteration.guidance, temperature)?)
    }

    /// Noise of a head step, counted from 0 in the order in which they are taken, `[R, 16]`; empty for the last, which uses
    /// none.
    ///
    /// # Errors
    /// When there are no draws for a place.
    pub fn head_noise(&self, iteration: &Iteration, head_step: usize) -> Result<Vec<f32>, GenerationError> {
        Ok(self.head_noises(iteration).of(head_step)?)
    }

    /// The noise of all head steps of an iteration.
    pub fn head_noises(&self, iteration: &Iteration) -> HeadNoise {
        let (draws, n_steps) = (Arc::clone(&self.draws), self.settings.head_steps);
        HeadNoise { draws, rows: self.rows(iteration), iteration: iteration.index, n_steps }
    }

    /// Ends an iteration: the latents `[R, 16]` of the places it revealed.
    ///
    /// # Errors
    /// When the iteration is not the next one, or values are missing or not finite; then nothing changes.
    pub fn reveal(&mut self, iteration: &Iteration, latents: &[f32]) -> Result<(), GenerationError> {
        if iteration.n_masked != self.n_masked || iteration.index < self.next_index {
            return Err(GenerationError::Mismatch(format!("iteration {} is not the next one", iteration.index)));
        }
        let n_rows: usize = iteration.images.iter().map(|i| i.reveal.len()).sum();
        if latents.len() != n_rows * LATENT_CHANNELS {
            return Err(GenerationError::Mismatch(format!("{} latent values for {n_rows} places", latents.len())));
        }
        if !latents.iter().all(|x| x.is_finite()) {
            return Err(GenerationError::NotFinite);
        }
        let mut rows = latents.chunks_exact(LATENT_CHANNELS);
        for (places, image) in iteration.images.iter().zip(&mut self.latents) {
            for (&place, row) in places.reveal.iter().zip(&mut rows) {
                image[channels_of(place)].copy_from_slice(row);
            }
        }
        self.n_masked -= iteration.n_revealed;
        self.next_index = iteration.index + 1;
        Ok(())
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let n_places = self.settings.grid.n_places();
        let n_iterations = self.settings.iterations;
        let iteration = if self.n_masked == 0 { n_iterations } else { self.next_index };
        Progress { iteration, n_iterations, n_known: n_places - self.n_masked, n_places }
    }

    /// The latents of all images, zero where unknown: what the autoencoder makes the images, or previews, of.
    ///
    /// Shapes: → f32 `[images, m, n, 16]`.
    ///
    /// # Errors
    /// When the device refuses the tensor.
    pub fn latents(&self, device: &Device) -> candle_core::Result<Tensor> {
        let grid = self.settings.grid;
        let shape = (self.latents.len(), grid.rows, grid.cols, LATENT_CHANNELS);
        Tensor::from_vec(self.latents.concat(), shape, device)
    }

    /// Starting values of all rows, `[R, 16]`.
    fn draw(
        &self,
        iteration: &Iteration,
        of: impl Fn(u32, u32) -> Result<PlaceDraw, DrawsError>,
    ) -> Result<Vec<f32>, GenerationError> {
        let mut values = Vec::new();
        for (image, place) in self.rows(iteration) {
            values.extend(of(image, place)?);
        }
        Ok(values)
    }

    /// Image and place of every row of an iteration, images first.
    fn rows(&self, iteration: &Iteration) -> Vec<(u32, u32)> {
        // The images first: the numbers must not be asked for one beyond the last, which may not exist.
        let images = iteration.images.iter().zip(self.settings.first_image..);
        images.flat_map(|(places, image)| places.reveal.iter().map(move |&place| (image, place))).collect()
    }
}

/// Where a place's channels lie in an image's latents.
fn channels_of(place: u32) -> std::ops::Range<usize> {
    let first = place as usize * LATENT_CHANNELS;
    first..first + LATENT_CHANNELS
}

/// Recorded orders come from outside: a place missing from one would never become known.
fn checked_order(order: Vec<u32>, n_places: usize) -> Result<Vec<u32>, GenerationError> {
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted.len() != n_places || sorted.iter().enumerate().any(|(i, &place)| i != place as usize) {
        return Err(GenerationError::Mismatch(format!("an order that is no permutation of {n_places} places")));
    }
    Ok(order)
}
