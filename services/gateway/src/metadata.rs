//! What a finished PNG says about how it was made, as JSON under the text key `unipic`.

use serde::Serialize;
use unipic_api::pb;

use crate::model::Model;
use crate::pictures::Source;
use crate::validation::ImageSpec;

#[derive(Serialize)]
struct Made<'a> {
    task: &'a str,
    model: &'a str,
    version: &'a str,
    weights_sha256: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    negative_prompt: &'a str,
    seed: u64,
    /// Number of the image within the request: seed and number together make the image.
    image: u32,
    n: u32,
    iterations: u32,
    head_steps: u32,
    guidance_scale: f32,
    guidance_schedule: &'a str,
    temperature: f32,
    width: u32,
    height: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    crop: Option<[u32; 4]>,
    /// Latent places that a mask had redrawn; all where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    redrawn_places: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feather: Option<u32>,
}

/// The JSON for one image.
pub(crate) fn describe(model: &Model, spec: &ImageSpec, source: Option<&Source>, image: u32) -> Option<String> {
    let redraw = source.and_then(|source| source.redraw.as_ref());
    let made = Made {
        task: if source.is_some() { "edit" } else { "generate" },
        model: &model.name,
        version: env!("CARGO_PKG_VERSION"),
        weights_sha256: &model.weights_sha256,
        prompt: &spec.prompt,
        negative_prompt: &spec.negative_prompt,
        seed: spec.seed,
        image,
        n: spec.n,
        iterations: spec.iterations,
        head_steps: spec.head_steps,
        guidance_scale: spec.guidance_scale,
        guidance_schedule: match spec.guidance_schedule {
            pb::GuidanceSchedule::Linear => "linear",
            _ => "constant",
        },
        temperature: spec.temperature,
        width: spec.width,
        height: spec.height,
        crop: source.map(|Source { crop, .. }| [crop.x, crop.y, crop.width, crop.height]),
        redrawn_places: redraw.map(|redraw| redraw.places.len()),
        feather: redraw.map(|redraw| redraw.feather),
    };
    // Strings, integers and finite floats always serialize.
    serde_json::to_string(&made).ok()
}
