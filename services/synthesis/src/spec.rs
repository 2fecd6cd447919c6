//! What can be asked for, and everything that can be wrong with it.

use unipic_api::status::FieldViolation;
use unipic_models::generation::{Settings, redrawn_problem};

use crate::device::Info;
use crate::image::RgbImage;

/// Bytes of a prompt or a negative prompt. The gateway's limit is what users meet; this one protects the service.
pub const MAX_PROMPT_BYTES: usize = 64 << 10;
/// Iterations; more than there are places do nothing.
pub const MAX_ITERATIONS: usize = 4096;
/// Steps of the diffusion head: the length of the schedule it was trained on.
pub const MAX_HEAD_STEPS: usize = 1000;
/// Guidance scale.
pub const MAX_GUIDANCE_SCALE: f64 = 100.0;
/// Temperature.
pub const MAX_TEMPERATURE: f64 = 10.0;

/// A generation, or an edit when there is a source.
#[derive(Clone, Debug)]
pub struct SynthesisSpec {
    /// The picture to make, or the instruction to follow.
    pub prompt: String,
    /// Replaces the text of the unconditional branch.
    pub negative_prompt: Option<String>,
    /// The source image of an edit, of the size of the result.
    pub source: Option<RgbImage>,
    /// The places of the source that are redrawn, in raster order; the others keep its latents. Empty for all.
    pub redrawn: Vec<u32>,
    /// Size, number, seed and sampling.
    pub settings: Settings,
    /// A preview every so many iterations; 0 for none.
    pub preview_every: usize,
}

/// Bounds that an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Latent places per image.
    pub max_places: usize,
    /// Images per request.
    pub max_images: usize,
}

impl SynthesisSpec {
    /// Places of each image that are drawn.
    pub fn n_drawn(&self) -> usize {
        if self.redrawn.is_empty() { self.settings.grid.n_places() } else { self.redrawn.len() }
    }

    /// Everything that is wrong, by field of `SynthesisParameters`; `source` is the image that follows.
    pub fn violations(&self, info: &Info, bounds: &Bounds) -> Vec<FieldViolation> {
        let mut found = Violations::default();
        found.text(self);
        found.sizes(&self.settings, bounds);
        found.sampling(&self.settings);
        if !self.redrawn.is_empty() {
            let problem = redrawn_problem(&self.redrawn, self.settings.grid);
            problem.into_iter().for_each(|problem| found.add("redrawn_places", problem));
        }
        if let Some(image) = &self.source {
            let (width, height) = info.image_size(&self.settings);
            let fits = (image.width, image.height) == (width, height);
            let wrong_size = || {
                (!fits).then(|| {
                    format!("the image is {}×{} px, the result {width}×{height} px", image.width, image.height)
                })
            };
            if let Some(problem) = info.image_problem(image, bounds.max_places).or_else(wrong_size) {
                found.add("source", problem);
            }
        }
        found.0
    }
}

#[derive(Default)]
struct Violations(Vec<FieldViolation>);

impl Violations {
    fn add(&mut self, field: &str, problem: impl Into<String>) {
        let field = if field == "source" { field.to_owned() } else { format!("parameters.{field}") };
        self.0.push(FieldViolation::new(field, problem));
    }

    fn require(&mut self, holds: bool, field: &str, problem: impl FnOnce() -> String) {
        if !holds {
            self.add(field, problem());
        }
    }

    fn text(&mut self, spec: &SynthesisSpec) {
        self.require(!spec.prompt.is_empty(), "prompt", || "must not be empty".into());
        let texts = [("prompt", Some(&spec.prompt)), ("negative_prompt", spec.negative_prompt.as_ref())];
        for (field, text) in texts {
            let bytes = text.map_or(0, String::len);
            self.require(bytes <= MAX_PROMPT_BYTES, field, || {
                format!("{bytes} bytes; at most {MAX_PROMPT_BYTES} are accepted")
            });
        }
    }

    fn sizes(&mut self, settings: &Settings, bounds: &Bounds) {
        let (grid, n_images) = (settings.grid, settings.n_images);
        self.require(grid.rows > 0, "grid_rows", || "must be at least 1".into());
        self.require(grid.cols > 0, "grid_cols", || "must be at least 1".into());
        let max = bounds.max_places;
        self.require(grid.n_places() <= max, "grid_rows", || {
            format!("{} × {} latent places; at most {max} are accepted", grid.rows, grid.cols)
        });
        self.require((1..=bounds.max_images).contains(&n_images), "n_images", || {
            format!("must be from 1 to {}, not {n_images}", bounds.max_images)
        });
        let last = u32::try_from(n_images).ok().and_then(|n| settings.first_image.checked_add(n));
        self.require(last.is_some(), "first_image", || "images must be numbered below 2³²".into());
    }

    fn sampling(&mut self, settings: &Settings) {
        for (field, value, max) in
            [("iterations", settings.iterations, MAX_ITERATIONS), ("head_steps", settings.head_steps, MAX_HEAD_STEPS)]
        {
            self.require((1..=max).contains(&value), field, || format!("must be from 1 to {max}, not {value}"));
        }
        // NaN lies in no range.
        for (field, value, max) in [
            ("guidance_scale", settings.guidance_scale, MAX_GUIDANCE_SCALE),
            ("temperature", settings.temperature, MAX_TEMPERATURE),
        ] {
            self.require((0.0..=max).contains(&value), field, || format!("must be from 0 to {max}, not {value}"));
        }
    }
}
