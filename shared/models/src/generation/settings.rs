//! What a generation is asked for.

use super::GenerationError;
use crate::diffusion::schedule::TRAINING_STEPS;
use crate::mar::ImageGrid;

/// How guidance changes over the iterations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GuidanceSchedule {
    /// The scale, always.
    #[default]
    Constant,
    /// From 1 towards the scale as places become known.
    Linear,
}

/// Parameters of the images of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The latent grid of every image.
    pub grid: ImageGrid,
    /// Iterations S. More than there are places do no harm: those that reveal nothing are skipped.
    pub iterations: usize,
    /// Sampling steps of the diffusion head.
    pub head_steps: usize,
    /// Classifier-free guidance scale; exactly 1 runs the conditional branch only.
    pub guidance_scale: f64,
    /// How guidance changes over the iterations.
    pub guidance_schedule: GuidanceSchedule,
    /// Factor on the noise of every head step but the initial one.
    pub temperature: f64,
    /// Seed of the random values.
    pub seed: u64,
    /// Number of the first image. Image i of a request equals the first one of a request with first image i.
    pub first_image: u32,
    /// Images.
    pub n_images: usize,
}

impl Settings {
    /// Guidance branches: the conditional one, and the unconditional one unless guidance is exactly 1.
    pub fn n_branches(&self) -> usize {
        if self.guidance_scale as f32 == 1.0 { 1 } else { 2 }
    }

    /// Refuses settings that no image can be made with. Limits of a server are stricter, and not its business.
    ///
    /// # Errors
    /// For the first such setting.
    pub fn check(&self) -> Result<(), GenerationError> {
        let refuse = |field, problem: &str| Err(GenerationError::Setting { field, problem: problem.into() });
        let n_places = self.grid.n_places();
        if n_places == 0 || u32::try_from(n_places).is_err() {
            return refuse("grid", "must have at least one place and fewer than 2³²");
        }
        if self.iterations == 0 {
            return refuse("iterations", "must be at least 1");
        }
        if !(1..=TRAINING_STEPS).contains(&self.head_steps) {
            return refuse("head_steps", "must be between 1 and 1000");
        }
        if !(self.guidance_scale as f32).is_finite() {
            return refuse("guidance_scale", "must be a finite number");
        }
        if !(self.temperature as f32).is_finite() || self.temperature < 0.0 {
            return refuse("temperature", "must be a finite number, at least 0");
        }
        if self.n_images == 0
            || u32::try_from(self.n_images).map_or(true, |n| self.first_image.checked_add(n).is_none())
        {
            return refuse("n_images", "must be at least 1, and images be numbered below 2³²");
        }
        Ok(())
    }

    /// Guidance of an iteration after which `n_masked_next` of the `n_drawn` places stay unknown.
    pub(super) fn guidance(&self, n_masked_next: usize, n_drawn: usize) -> f32 {
        let n_drawn = n_drawn as f64;
        let guidance = match self.guidance_schedule {
            GuidanceSchedule::Constant => self.guidance_scale,
            GuidanceSchedule::Linear => 1.0 + (self.guidance_scale - 1.0) * (n_drawn - n_masked_next as f64) / n_drawn,
        };
        guidance as f32
    }
}

/// What is wrong with these as the places that an edit redraws, if anything: there must be some, on the grid, each once and
/// in raster order.
pub fn redrawn_problem(places: &[u32], grid: ImageGrid) -> Option<String> {
    let n_places = grid.n_places();
    let Some(last) = places.last() else { return Some("must not be empty".to_owned()) };
    if !places.is_sorted_by(|a, b| a < b) {
        return Some("must be in raster order, each at most once".to_owned());
    }
    (*last as usize >= n_places).then(|| format!("must be below {n_places}, not {last}"))
}
