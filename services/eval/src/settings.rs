//! How images are sampled: what was asked for, and what it comes to with a model's defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use unipic_api::pb;

use crate::EvalError;

/// What every benchmark run is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The folder to fill. An earlier run with the same parameters is gone on with.
    pub out: PathBuf,
    /// Seed of the run; every image has its own, derived from it ([`seed_of`](crate::seed_of)).
    pub seed: u64,
    /// How images are sampled.
    pub sampling: Sampling,
    /// Requests under way at once; at least 1.
    pub in_flight: usize,
    /// A word that goes into the run's record, for what the server does not tell about itself, such as "q8_0".
    pub label: String,
    /// Only so many prompts, the first ones. A later run without it goes on where this one ended.
    pub limit: Option<usize>,
}

impl Run {
    /// A run into `out` with the seed 0, the model's defaults and four requests at once.
    pub fn into(out: impl Into<PathBuf>) -> Self {
        let (sampling, label) = (Sampling::default(), String::new());
        Self { out: out.into(), seed: 0, sampling, in_flight: 4, label, limit: None }
    }
}

/// How images are sampled; whatever is left out is the model's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Iterations of the generation loop.
    pub iterations: Option<u32>,
    /// Sampling steps of the diffusion head.
    pub head_steps: Option<u32>,
    /// Classifier-free guidance; 1 turns it off.
    pub guidance: Option<f32>,
    /// How guidance grows over the iterations.
    pub schedule: Option<Schedule>,
    /// Factor on the sampler's noise.
    pub temperature: Option<f32>,
    /// What to keep away from; may be empty.
    pub negative: String,
}

/// How guidance grows over the iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The same in every iteration.
    Constant,
    /// From 1, with the places already revealed.
    Linear,
}

impl Schedule {
    /// The API's word.
    pub(crate) fn to_api(self) -> pb::GuidanceSchedule {
        match self {
            Self::Constant => pb::GuidanceSchedule::Constant,
            Self::Linear => pb::GuidanceSchedule::Linear,
        }
    }
}

/// How images are sampled, nothing left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Iterations of the generation loop.
    pub iterations: u32,
    /// Sampling steps of the diffusion head.
    pub head_steps: u32,
    /// Classifier-free guidance.
    pub guidance: f32,
    /// How guidance grows over the iterations.
    pub schedule: Schedule,
    /// Factor on the sampler's noise.
    pub temperature: f32,
    /// What to keep away from; may be empty.
    pub negative: String,
}

impl Sampling {
    /// Fills in the model's defaults and holds everything against its limits, before minutes of work go into a request
    /// that would be refused. A limit of 0 is one that the server did not tell.
    ///
    /// # Errors
    /// [`EvalError::Setting`] names the first value that the model would not take.
    pub fn resolve(&self, model: &pb::GetModelResponse) -> Result<Settings, EvalError> {
        let defaults = model.image_defaults.unwrap_or_default();
        let limits = model.limits.unwrap_or_default();
        let stride = model.stride.max(1);
        let (width, height) = self.size.unwrap_or((defaults.width.unwrap_or(1024), defaults.height.unwrap_or(1024)));
        check_size(width, height, stride, limits.max_output_pixels)?;
        // As the server does with its own default: there is no sense in more iterations than places.
        let places = (width / stride).saturating_mul(height / stride).max(1);
        let settings = Settings {
            width,
            height,
            iterations: self.iterations.unwrap_or(defaults.iterations.unwrap_or(32).min(places)),
            head_steps: self.head_steps.or(defaults.head_steps).unwrap_or(100),
            guidance: self.guidance.or(defaults.guidance_scale).unwrap_or(3.0),
            schedule: self.schedule.unwrap_or(match defaults.guidance_schedule() {
                pb::GuidanceSchedule::Linear => Schedule::Linear,
                _ => Schedule::Constant,
            }),
            temperature: self.temperature.or(defaults.temperature).unwrap_or(1.0),
            negative: self.negative.clone(),
        };
        count("iterations", settings.iterations, limits.max_iterations)?;
        count("head steps", settings.head_steps, limits.max_head_steps)?;
        number("guidance", settings.guidance, limits.max_guidance_scale)?;
        number("temperature", settings.temperature, limits.max_temperature)?;
        Ok(settings)
    }
}

/// Refuses a size that the model does not draw.
pub(crate) fn check_size(width: u32, height: u32, stride: u32, max_pixels: u64) -> Result<(), EvalError> {
    let value = format!("{width}x{height}");
    if width == 0 || height == 0 || !width.is_multiple_of(stride) || !height.is_multiple_of(stride) {
        return Err(EvalError::setting("size", value, format!("multiples of {stride} pixels")));
    }
    if max_pixels > 0 && u64::from(width) * u64::from(height) > max_pixels {
        return Err(EvalError::setting("size", value, format!("at most {max_pixels} pixels in all")));
    }
    Ok(())
}

fn count(name: &'static str, value: u32, most: u32) -> Result<(), EvalError> {
    let most = if most == 0 { u32::MAX } else { most };
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(EvalError::setting(name, value, format!("from 1 to {most}")))
}

fn number(name: &'static str, value: f32, most: f32) -> Result<(), EvalError> {
    let most = if most == 0.0 { f32::MAX } else { most };
    // NaN lies in no range.
    if (0.0..=most).contains(&value) {
        return Ok(());
    }
    Err(EvalError::setting(name, value, format!("a number from 0 to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> pb::GetModelResponse {
        let image_defaults = pb::ImageOptions {
            width: Some(128),
            height: Some(128),
            iterations: Some(100),
            head_steps: Some(25),
            guidance_scale: Some(2.0),
            temperature: Some(0.9),
            ..pb::ImageOptions::default()
        };
        let limits = pb::Limits { max_output_pixels: 1 << 20, max_iterations: 256, ..pb::Limits::default() };
        pb::GetModelResponse {
            stride: 16,
            image_defaults: Some(image_defaults),
            limits: Some(limits),
            ..pb::GetModelResponse::default()
        }
    }

    #[test]
    fn what_is_left_out_is_the_models() {
        let settings = Sampling::default().resolve(&model()).unwrap();
        let wanted = Settings {
            width: 128,
            height: 128,
            iterations: 64,
            head_steps: 25,
            guidance: 2.0,
            schedule: Schedule::Constant,
            temperature: 0.9,
            negative: String::new(),
        };
        assert_eq!(settings, wanted);
    }

    #[test]
    fn what_the_model_would_refuse_is_refused_by_name() {
        let refused = |sampling: Sampling, name: &str| {
            let said = sampling.resolve(&model()).unwrap_err().to_string();
            assert!(said.starts_with(name), "{said}");
        };
        refused(Sampling { size: Some((100, 128)), ..Sampling::default() }, "size is 100x128");
        refused(Sampling { size: Some((4096, 4096)), ..Sampling::default() }, "size is 4096x4096");
        refused(Sampling { iterations: Some(0), ..Sampling::default() }, "iterations is 0");
        refused(Sampling { iterations: Some(257), ..Sampling::default() }, "iterations is 257");
        refused(Sampling { head_steps: Some(0), ..Sampling::default() }, "head steps is 0");
        refused(Sampling { guidance: Some(f32::NAN), ..Sampling::default() }, "guidance is NaN");
        refused(Sampling { temperature: Some(-1.0), ..Sampling::default() }, "temperature is -1");
    }
}
