//! The noise of an iteration's head steps.

use std::sync::Arc;

use crate::diffusion::DrawsError;
use crate::diffusion::noise::Draws;

/// The noise of all head steps of one iteration, apart from the generation: for whoever takes the steps, one after the
/// other, somewhere else.
#[derive(Clone, Debug)]
pub struct HeadNoise {
    pub(super) draws: Arc<dyn Draws>,
    /// Image and place of every row.
    pub(super) rows: Vec<(u32, u32)>,
    pub(super) iteration: usize,
    pub(super) n_steps: usize,
}

impl HeadNoise {
    /// The noise of a step, counted from 0 in the order in which they are taken, `[R, 16]`; empty for the last, which uses
    /// none.
    ///
    /// # Errors
    /// When there are no draws for a place.
    pub fn of(&self, head_step: usize) -> Result<Vec<f32>, DrawsError> {
        if head_step + 1 >= self.n_steps {
            return Ok(Vec::new());
        }
        let mut values = Vec::with_capacity(self.rows.len() * crate::mar::LATENT_CHANNELS);
        for &(image, place) in &self.rows {
            values.extend(self.draws.step(image, self.iteration, place, head_step)?);
        }
        Ok(values)
    }
}
