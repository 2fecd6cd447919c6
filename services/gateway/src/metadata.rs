//! What a finished PNG says about how it was made: the reproducibility record of `unipic-api`.

use unipic_api::record::{Record, Source, Task};

use crate::model::Model;
use crate::pictures;
use crate::validation::ImageSpec;

/// The record of image number `image`, as the text of a PNG chunk.
pub(crate) fn describe(
    model: &Model,
    spec: &ImageSpec,
    source: Option<&pictures::Source>,
    image: u32,
) -> Option<String> {
    let made = Record {
        task: if source.is_some() { Task::Edit } else { Task::Generate },
        model: model.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        weights_sha256: model.weights_sha256.clone(),
        prompt: spec.prompt.clone(),
        negative_prompt: spec.negative_prompt.clone(),
        seed: spec.seed,
        image,
        iterations: spec.iterations,
        head_steps: spec.head_steps,
        guidance_scale: spec.guidance_scale,
        guidance_schedule: spec.guidance_schedule.into(),
        temperature: spec.temperature,
        width: spec.width,
        height: spec.height,
        source: source.map(|source| Source {
            sha256: source.sha256.clone(),
            crop: [source.crop.x, source.crop.y, source.crop.width, source.crop.height],
            redraw: source.asked.clone(),
        }),
    };
    let text = made.to_text();
    // An image is worth more than its record.
    text.inspect_err(|error| tracing::error!(%error, "an image leaves without its record")).ok()
}
