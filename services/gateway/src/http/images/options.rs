//! What a request for images says, in the terms of the API behind.

use unipic_api::pb;

use crate::http::error::HttpError;
use crate::http::fields::{Faults, Field, Fields, Kind, Table};
use crate::http::models;
use crate::model::Model;

/// Most previews of an image.
pub(in crate::http) const MAX_PARTIAL_IMAGES: u32 = 8;

const FORMATS: [(&str, pb::ImageFormat); 3] =
    [("png", pb::ImageFormat::Png), ("jpeg", pb::ImageFormat::Jpeg), ("webp", pb::ImageFormat::Webp)];

const SCHEDULES: [(&str, pb::GuidanceSchedule); 2] =
    [("constant", pb::GuidanceSchedule::Constant), ("linear", pb::GuidanceSchedule::Linear)];

/// The fields of both requests for images.
pub(in crate::http) const IMAGE_FIELDS: Table = &[
    Field { name: "prompt", kind: Kind::Text, about: "Required. What to draw, or what to change." },
    Field { name: "model", kind: Kind::Text, about: "The model's name as /v1/models tells it, or nothing." },
    Field { name: "n", kind: Kind::Whole, about: "How many images. Default 1." },
    Field {
        name: "size",
        kind: Kind::Text,
        about: "WIDTHxHEIGHT in pixels, multiples of the model's stride, or auto, the default: the model's own size.",
    },
    Field {
        name: "seed",
        kind: Kind::Whole,
        about: "The same request with the same seed makes the same images. Drawn and told when left out.",
    },
    Field {
        name: "response_format",
        kind: Kind::Only(&["\"b64_json\""], "this server keeps no images, so it has no URL to give"),
        about: "b64_json, the default. This server keeps no images, so it has no url to give.",
    },
    Field { name: "output_format", kind: Kind::Choice(&["png", "jpeg", "webp"]), about: "Default png." },
    Field { name: "stream", kind: Kind::Flag, about: "Server-sent events instead of one answer. Default false." },
    Field {
        name: "partial_images",
        kind: Kind::Whole,
        about: "Previews of each image, from 0 to 8, in a stream. There may be fewer. Default 0.",
    },
    Field {
        name: "progress",
        kind: Kind::Flag,
        about: "In a stream, also events that OpenAI's API has not: queued with the requests ahead, progress with iterations \
                and milliseconds, resumed after a loss. Default false.",
    },
    Field { name: "iterations", kind: Kind::Whole, about: "Iterations of the loop: more is better and slower." },
    Field { name: "head_steps", kind: Kind::Whole, about: "Sampling steps of the diffusion head in each iteration." },
    Field { name: "guidance_scale", kind: Kind::Number, about: "Guidance; 1 turns it off and halves the work." },
    Field {
        name: "guidance_schedule",
        kind: Kind::Choice(&["constant", "linear"]),
        about: "How guidance grows over the iterations. Default constant.",
    },
    Field { name: "temperature", kind: Kind::Number, about: "Factor on the sampler's noise." },
    Field { name: "negative_prompt", kind: Kind::Text, about: "What to keep away from." },
    Field {
        name: "background",
        kind: Kind::Only(&["\"auto\"", "\"opaque\""], "images are always opaque"),
        about: "auto or opaque; images are always opaque.",
    },
    Field { name: "quality", kind: Kind::Ignored, about: "Say iterations and head_steps instead." },
    Field { name: "user", kind: Kind::Ignored, about: "" },
];

/// Fields of a generation alone.
pub(in crate::http) const GENERATION_FIELDS: Table = &[
    Field { name: "moderation", kind: Kind::Ignored, about: "Nothing is moderated here." },
    Field { name: "style", kind: Kind::Ignored, about: "Say it in the prompt." },
];

/// Fields of an edit alone.
pub(in crate::http) const EDIT_FIELDS: Table = &[
    Field {
        name: "image",
        kind: Kind::File,
        about: "Required, also as image[]. Exactly one file: PNG, JPEG, WebP, GIF, BMP or TIFF. It is cropped around its \
                centre to the aspect of size.",
    },
    Field {
        name: "mask",
        kind: Kind::File,
        about: "One file of the image's width and height with an alpha channel, such as a PNG: what is transparent is \
                redrawn, what is opaque comes back as it was, bit for bit in lossless formats. Everything when left out.",
    },
    Field {
        name: "feather",
        kind: Kind::Whole,
        about: "With a mask or margins, how far the seam is blended, in pixels of the result, inside the redrawn part. \
                Default 0.",
    },
    Field {
        name: "extend_left",
        kind: Kind::Whole,
        about: "Pixels to draw on the left of the image. With any margin and without a size, the result has the size, or \
                else the aspect, of the image with its margins.",
    },
    Field { name: "extend_top", kind: Kind::Whole, about: "Pixels to draw above the image." },
    Field { name: "extend_right", kind: Kind::Whole, about: "Pixels to draw on the right of the image." },
    Field { name: "extend_bottom", kind: Kind::Whole, about: "Pixels to draw below the image." },
    Field { name: "input_fidelity", kind: Kind::Ignored, about: "" },
];

/// A request that can be started; limits are judged behind.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) prompt: String,
    pub(super) negative_prompt: String,
    pub(super) options: pb::ImageOptions,
    pub(super) is_streamed: bool,
    /// Previews of each image, at most.
    pub(super) partial_images: u32,
    /// Whether a stream tells the queue and the iterations too.
    pub(super) is_progress_told: bool,
    /// Whether a size was asked for.
    pub(super) is_sized: bool,
}

impl Plan {
    /// Reads the fields of a request, and tells what is wrong with their types and words.
    ///
    /// # Errors
    /// Another model was asked for.
    pub(super) fn read(mut fields: Fields, model: &Model) -> Result<(Self, Faults), HttpError> {
        models::check_name(fields.text("model"), model)?;
        let size = size(&mut fields);
        let format = fields.choice("output_format", &FORMATS).unwrap_or_default();
        let schedule = fields.choice("guidance_schedule", &SCHEDULES).unwrap_or_default();
        let is_streamed = fields.flag("stream").unwrap_or(false);
        let partial_images = partial_images(&mut fields, is_streamed);
        let is_progress_told = fields.progress(is_streamed);
        let mut options = pb::ImageOptions {
            seed: fields.whole("seed"),
            n: fields.count("n"),
            iterations: fields.count("iterations"),
            head_steps: fields.count("head_steps"),
            guidance_scale: fields.number("guidance_scale"),
            guidance_schedule: schedule as i32,
            temperature: fields.number("temperature"),
            width: size.map(|(width, _)| width).or(model.defaults.width),
            height: size.map(|(_, height)| height).or(model.defaults.height),
            output_format: format as i32,
            preview_every: None,
        };
        options.preview_every = Some(preview_every(&options, partial_images, model));
        let prompt = fields.text("prompt").unwrap_or_default();
        let negative_prompt = fields.text("negative_prompt").unwrap_or_default();
        let is_sized = size.is_some();
        let plan = Self { prompt, negative_prompt, options, is_streamed, partial_images, is_progress_told, is_sized };
        Ok((plan, fields.finish()))
    }
}

/// `auto`, or width and height.
fn size(fields: &mut Fields) -> Option<(u32, u32)> {
    let text = fields.text("size")?;
    if text == "auto" {
        return None;
    }
    let size = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    if size.is_none() {
        fields.wrong("size", "must be auto or WIDTHxHEIGHT in pixels, such as 128x128");
    }
    size
}

fn partial_images(fields: &mut Fields, is_streamed: bool) -> u32 {
    let asked = fields.count("partial_images").unwrap_or(0);
    if asked > MAX_PARTIAL_IMAGES {
        fields.wrong("partial_images", format!("must be between 0 and {MAX_PARTIAL_IMAGES}, not {asked}"));
    } else if asked > 0 && !is_streamed {
        fields.wrong("partial_images", "needs \"stream\": true");
    }
    asked
}

/// Iterations between two previews, so that they are spread evenly. 0 for none.
fn preview_every(options: &pb::ImageOptions, partial_images: u32, model: &Model) -> u32 {
    let places = model.places(options.width.unwrap_or(0), options.height.unwrap_or(0));
    let iterations = options.iterations.unwrap_or_else(|| model.default_iterations(places));
    if partial_images == 0 { 0 } else { (iterations / partial_images.saturating_add(1)).max(1) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_width_by_height() {
        let read = |text: &str| {
            let given = json!({ "size": text }).as_object().cloned().unwrap_or_default();
            let mut fields = Fields::new(given, &[IMAGE_FIELDS]);
            let size = size(&mut fields);
            (size, fields.finish().is_empty())
        };
        assert_eq!(read("64x32"), (Some((64, 32)), true));
        assert_eq!(read("auto"), (None, true));
        for bad in ["", "64", "x", "64x", "-64x64", "64x64x64", "64X64", "1e3x16", "99999999999x16"] {
            assert_eq!(read(bad), (None, false), "{bad}");
        }
    }
}
