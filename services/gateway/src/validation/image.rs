//! Generate and Edit.

use unipic_api::{ApiError, pb};
use unipic_imaging::Format;

use super::{Violations, change};
use crate::admission::{Kind, Work};
use crate::model::Model;
use crate::pictures::{Output, Pictures, Source};

/// Everything an image request asks for, explicit and within the limits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImageSpec {
    pub(crate) prompt: String,
    pub(crate) negative_prompt: String,
    pub(crate) seed: u64,
    pub(crate) n: u32,
    pub(crate) iterations: u32,
    pub(crate) head_steps: u32,
    pub(crate) guidance_scale: f32,
    pub(crate) guidance_schedule: pb::GuidanceSchedule,
    pub(crate) temperature: f32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) format: Format,
    pub(crate) preview_every: u32,
}

/// An edit: what to make, and of what.
#[derive(Debug, Clone)]
pub(crate) struct EditSpec {
    pub(crate) image: ImageSpec,
    pub(crate) source: Source,
}

/// Judges a Generate request.
pub(crate) fn generate(request: pb::GenerateRequest, model: &Model) -> Result<ImageSpec, ApiError> {
    let mut violations = Violations::default();
    violations.words("prompt", &request.prompt, model.limits.max_prompt_bytes);
    violations.text("negative_prompt", &request.negative_prompt, model.limits.max_prompt_bytes);
    let mut spec = options(&mut violations, request.options.unwrap_or_default(), model);
    violations.into_result()?;
    spec.prompt = request.prompt;
    spec.negative_prompt = request.negative_prompt;
    Ok(spec)
}

/// Judges an Edit request, its image and its mask included.
pub(crate) async fn edit(request: pb::EditRequest, model: &Model, pictures: &Pictures) -> Result<EditSpec, ApiError> {
    let mut violations = Violations::default();
    let decoded = pictures.decode(request.image.clone()).await?;
    let source = decoded.map_err(|error| violations.add("image", error.to_string())).ok();
    let asked = (request.mask, request.extend, request.feather);
    let change = change::change(&mut violations, asked, source.as_ref(), pictures).await?;
    violations.words("instruction", &request.instruction, model.limits.max_prompt_bytes);
    violations.text("negative_prompt", &request.negative_prompt, model.limits.max_prompt_bytes);
    let mut asked = request.options.unwrap_or_default();
    if let (Some(source), Some(_), None, None) = (&source, request.extend, asked.width, asked.height) {
        let (width, height) = change.canvas_size(source);
        let (width, height) = model.size_like(width, height);
        (asked.width, asked.height) = (Some(width), Some(height));
    }
    let mut spec = options(&mut violations, asked, model);
    violations.into_result()?;
    spec.prompt = request.instruction;
    spec.negative_prompt = request.negative_prompt;
    // No image and no violation cannot both be.
    let source = source.ok_or_else(|| ApiError::invalid("image", "must be an image file"))?;
    let output = Output { width: spec.width, height: spec.height, stride: model.facts.synthesis.stride };
    let is_masked = change.mask.is_some();
    let source = pictures.fit((request.image, source), change, output).await?;
    change::check_kept(&source, is_masked)?;
    Ok(EditSpec { image: spec, source })
}

/// Judges the sampling options. Wrong values are noted and replaced by their defaults, so that the check goes on.
fn options(violations: &mut Violations, options: pb::ImageOptions, model: &Model) -> ImageSpec {
    let (limits, defaults) = (&model.limits, &model.defaults);
    let (width, height) = size(violations, &options, model);
    // The default that is told is the default size's; another size may have more or fewer places.
    let iterations = Some(model.default_iterations(model.places(width, height)));
    let schedule =
        violations.choice("options.guidance_schedule", options.guidance_schedule, pb::GuidanceSchedule::Constant);
    ImageSpec {
        prompt: String::new(),
        negative_prompt: String::new(),
        seed: options.seed.unwrap_or_else(draw_seed),
        n: violations.count("options.n", options.n, defaults.n, 1..=limits.max_n),
        iterations: violations.count("options.iterations", options.iterations, iterations, 1..=limits.max_iterations),
        head_steps: violations.count(
            "options.head_steps",
            options.head_steps,
            defaults.head_steps,
            1..=limits.max_head_steps,
        ),
        guidance_scale: violations.number(
            "options.guidance_scale",
            options.guidance_scale,
            defaults.guidance_scale,
            limits.max_guidance_scale,
        ),
        guidance_schedule: schedule,
        temperature: violations.number(
            "options.temperature",
            options.temperature,
            defaults.temperature,
            limits.max_temperature,
        ),
        width,
        height,
        format: format(violations, options.output_format),
        preview_every: options.preview_every.unwrap_or(0),
    }
}

/// Judges width and height, each and together.
fn size(violations: &mut Violations, options: &pb::ImageOptions, model: &Model) -> (u32, u32) {
    let stride = model.facts.synthesis.stride;
    let mut fine = true;
    let mut side = |path: &str, value: Option<u32>, default: Option<u32>| {
        let value = value.or(default).unwrap_or(stride);
        if value == 0 || !value.is_multiple_of(stride) {
            violations.add(path, format!("must be a multiple of {stride} and at least {stride}, not {value}"));
            fine = false;
        }
        value
    };
    let width = side("options.width", options.width, model.defaults.width);
    let height = side("options.height", options.height, model.defaults.height);
    let (pixels, limit) = (u64::from(width) * u64::from(height), model.limits.max_output_pixels);
    if fine && pixels > limit {
        // Both fields make the product; the one that was given, or the larger one, is to blame.
        let path = if width >= height { "options.width" } else { "options.height" };
        violations.add(path, format!("{width}x{height} is {pixels} pixels; at most {limit} are drawn"));
        fine = false;
    }
    if fine { (width, height) } else { (stride, stride) }
}

/// The file format of the results.
fn format(violations: &mut Violations, value: i32) -> Format {
    match violations.choice("options.output_format", value, pb::ImageFormat::Png) {
        pb::ImageFormat::Jpeg => Format::Jpeg,
        pb::ImageFormat::Webp => Format::WebP,
        pb::ImageFormat::Png | pb::ImageFormat::Unspecified => Format::Png,
    }
}

/// A seed for a request without one. Below 2^53, so that a JSON reader that knows only doubles keeps it exactly.
pub(super) fn draw_seed() -> u64 {
    fastrand::u64(..1 << 53)
}

impl ImageSpec {
    /// What it makes the server do: every image's places pass in every iteration, and again where there is guidance.
    pub(crate) fn work(&self, model: &Model) -> Work {
        let branches = if self.guidance_scale == 1.0 { 1 } else { 2 };
        let places = u64::from(model.places(self.width, self.height)) * u64::from(self.n);
        let pixels = u64::from(self.width) * u64::from(self.height) * u64::from(self.n);
        Work { kind: Kind::Image, cost: places * u64::from(self.iterations) * branches, pixels }
    }

    /// What the synthesis service is asked for; of an edit, with its source.
    pub(crate) fn parameters(&self, stride: u32, source: Option<&Source>) -> pb::SynthesisParameters {
        let redraw = source.and_then(|source| source.redraw.as_ref());
        pb::SynthesisParameters {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone(),
            has_source: source.is_some(),
            seed: self.seed,
            n_images: self.n,
            grid_rows: self.height / stride,
            grid_cols: self.width / stride,
            iterations: self.iterations,
            head_steps: self.head_steps,
            guidance_scale: self.guidance_scale,
            guidance_schedule: self.guidance_schedule as i32,
            temperature: self.temperature,
            preview_every: self.preview_every,
            first_image: 0,
            redrawn_places: redraw.map(|redraw| redraw.places.clone()).unwrap_or_default(),
        }
    }

    /// The options as the client is told them, defaults filled in.
    pub(crate) fn to_options(&self) -> pb::ImageOptions {
        let format = match self.format {
            Format::Png => pb::ImageFormat::Png,
            Format::Jpeg => pb::ImageFormat::Jpeg,
            Format::WebP => pb::ImageFormat::Webp,
        };
        pb::ImageOptions {
            seed: Some(self.seed),
            n: Some(self.n),
            iterations: Some(self.iterations),
            head_steps: Some(self.head_steps),
            guidance_scale: Some(self.guidance_scale),
            guidance_schedule: self.guidance_schedule as i32,
            temperature: Some(self.temperature),
            width: Some(self.width),
            height: Some(self.height),
            output_format: format as i32,
            preview_every: Some(self.preview_every),
        }
    }
}
