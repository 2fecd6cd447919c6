//! What is served: the backends' facts and the configuration, resolved into the limits and defaults of the API.

use sha2::{Digest, Sha256};
use unipic_api::pb;

use crate::backends::Facts;
use crate::config::Config;

/// The paper's output side, used where the base image allows it.
const FULL_SIZE: u32 = 1024;
/// From this base image size on, images are drawn at twice the base.
const FULL_BASE: u32 = 512;
/// The published number of iterations of the loop.
const ITERATIONS: u32 = 32;
/// Places that an iteration reveals on average, at least, where the number of iterations is not said. Below that, images
/// cost more and are no better; the published model reveals 128.
const PLACES_PER_ITERATION: u32 = 4;
/// Positions left for the template around a prompt.
const TEMPLATE_TOKENS: u32 = 64;

/// A consistent set of backends with the limits and defaults that follow from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What the backends said.
    pub facts: Facts,
    /// Name of the model.
    pub name: String,
    /// SHA-256 over the parts' hashes, in hex.
    pub weights_sha256: String,
    /// What is accepted.
    pub limits: pb::Limits,
    /// Values for fields left out.
    pub defaults: pb::ImageOptions,
    /// Iterations of the loop when not said, where the configuration says them.
    configured_iterations: Option<u32>,
    /// Tokens of an answer when not said.
    pub default_answer_tokens: u32,
    /// Encoder paths that work, the default first.
    pub encoder_paths: Vec<pb::EncoderPath>,
}

/// Names of encoders.
pub(crate) trait Named {
    /// As options, `/v1/models` and the models of the Open Inference Protocol have it.
    fn name(self) -> &'static str;
}

impl Named for pb::EncoderPath {
    fn name(self) -> &'static str {
        match self {
            Self::Siglip2 => "siglip2",
            Self::Mar | Self::Unspecified => "mar",
        }
    }
}

impl Model {
    /// Puts facts and configuration together.
    ///
    /// # Errors
    /// A sentence, when the backends were loaded from models that do not fit each other or a size is zero.
    pub fn new(facts: Facts, config: &Config) -> Result<Self, String> {
        check_fit(&facts)?;
        let limits = limits(&facts, config);
        let mut encoder_paths = vec![pb::EncoderPath::Mar];
        if facts.understanding.available {
            encoder_paths.insert(0, pb::EncoderPath::Siglip2);
        }
        Ok(Self {
            name: config.model_name.clone().unwrap_or_else(|| name(&facts)),
            weights_sha256: combined_hash(&facts),
            defaults: defaults(&facts, config, &limits),
            configured_iterations: config.defaults.iterations,
            default_answer_tokens: config.defaults.answer_tokens.min(limits.max_answer_tokens),
            limits,
            encoder_paths,
            facts,
        })
    }

    /// Latent places of an image.
    #[must_use]
    pub fn places(&self, width: u32, height: u32) -> u32 {
        let stride = self.facts.synthesis.stride;
        (width / stride).saturating_mul(height / stride)
    }

    /// The size of an image that shows all of one of another size: that size where it can be drawn, else one of the
    /// default's area and of that aspect, as far as the stride and 4:1 allow.
    #[must_use]
    pub fn size_like(&self, width: u64, height: u64) -> (u32, u32) {
        let stride = self.facts.synthesis.stride;
        let fits = |side: u64| side > 0 && side.is_multiple_of(u64::from(stride));
        if fits(width) && fits(height) && width.saturating_mul(height) <= self.limits.max_output_pixels {
            return (width as u32, height as u32);
        }
        let area = f64::from(self.defaults.width.unwrap_or(stride)) * f64::from(self.defaults.height.unwrap_or(stride));
        let ratio = (width as f64 / height.max(1) as f64).clamp(0.25, 4.0);
        // Rounded down, so that the area is within whatever limit the default is within.
        let side = |pixels: f64| (pixels / f64::from(stride)).floor().max(1.0) as u32 * stride;
        (side((area * ratio).sqrt()), side((area / ratio).sqrt()))
    }

    /// Iterations of the loop for an image of so many places, where a request does not say them.
    #[must_use]
    pub fn default_iterations(&self, places: u32) -> u32 {
        iterations(self.configured_iterations, places, &self.limits)
    }

    /// Side of the square that an encoder path takes, in pixels.
    #[must_use]
    pub fn input_size(&self, path: pb::EncoderPath) -> u32 {
        match path {
            pb::EncoderPath::Siglip2 => self.facts.understanding.image_size,
            _ => self.facts.synthesis.base_image_size,
        }
    }

    /// Positions that one image takes in the language model's context.
    #[must_use]
    pub fn image_tokens(&self, path: pb::EncoderPath) -> u32 {
        match path {
            pb::EncoderPath::Siglip2 => self.facts.understanding.n_tokens,
            _ => {
                let base = self.facts.synthesis.base_image_size;
                self.places(base, base) + self.facts.synthesis.n_buffers
            }
        }
    }

    /// The answer to GetModel.
    #[must_use]
    pub fn to_response(&self) -> pb::GetModelResponse {
        let Facts { understanding, synthesis, decoder } = &self.facts;
        let all = understanding.notices.iter().chain(&synthesis.notices).chain(&decoder.notices);
        let mut notices: Vec<String> = Vec::new();
        for notice in all {
            // Parts loaded from one checkpoint report the same things.
            if !notices.contains(notice) {
                notices.push(notice.clone());
            }
        }
        pb::GetModelResponse {
            name: self.name.clone(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            weights_sha256: self.weights_sha256.clone(),
            image_defaults: Some(self.defaults),
            limits: Some(self.limits),
            encoder_paths: self.encoder_paths.iter().map(|path| *path as i32).collect(),
            notices,
            stride: synthesis.stride,
        }
    }
}

/// Refuses backends that cannot work together.
fn check_fit(facts: &Facts) -> Result<(), String> {
    let Facts { understanding, synthesis, decoder } = facts;
    let width = decoder.llm_width;
    if synthesis.llm_width != width {
        return Err(format!("synthesis fits a language model of width {}, decoder has {width}", synthesis.llm_width));
    }
    if understanding.available && understanding.llm_width != width {
        let theirs = understanding.llm_width;
        return Err(format!("understanding fits a language model of width {theirs}, decoder has {width}"));
    }
    let sizes = [
        ("decoder llm_width", width),
        ("decoder context_length", decoder.context_length),
        ("synthesis stride", synthesis.stride),
        ("synthesis max_places", synthesis.max_places),
        ("synthesis base_image_size", synthesis.base_image_size / synthesis.stride.max(1)),
        ("understanding image_size", if understanding.available { understanding.image_size } else { 1 }),
    ];
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((what, _)) => Err(format!("{what} is zero")),
        None => Ok(()),
    }
}

/// The configured limits, cut to what the model holds.
fn limits(facts: &Facts, config: &Config) -> pb::Limits {
    let (synthesis, decoder) = (&facts.synthesis, &facts.decoder);
    let pixels = |side: u32| u64::from(side) * u64::from(side);
    let base = synthesis.base_image_size;
    let by_size = if base >= FULL_BASE { pixels(FULL_SIZE) } else { 4 * pixels(base) };
    let held = u64::from(synthesis.max_places) * pixels(synthesis.stride);
    let max_output_pixels = config.limits.max_output_pixels.unwrap_or(by_size).min(held);
    // An edit holds the image twice, in its prompt and in the probe. A byte is at most one token, so a prompt of this
    // many bytes fits behind the largest image whatever its text.
    let places = u32::try_from(max_output_pixels / pixels(synthesis.stride)).unwrap_or(u32::MAX);
    let taken = places.saturating_add(synthesis.n_buffers).saturating_mul(2).saturating_add(TEMPLATE_TOKENS);
    let room = decoder.context_length.saturating_sub(taken).max(TEMPLATE_TOKENS);
    let limits = &config.limits;
    pb::Limits {
        max_prompt_bytes: limits.max_prompt_bytes.min(room),
        max_image_bytes: limits.max_image_bytes,
        max_image_pixels: limits.max_image_pixels,
        max_output_pixels,
        max_n: limits.max_n,
        max_iterations: limits.max_iterations,
        max_head_steps: limits.max_head_steps,
        max_guidance_scale: limits.max_guidance_scale,
        max_temperature: limits.max_temperature,
        max_answer_tokens: limits.max_answer_tokens.min(decoder.context_length),
        max_images: limits.max_images,
        max_turns: limits.max_turns,
    }
}

/// The configured defaults, made to fit the limits.
fn defaults(facts: &Facts, config: &Config, limits: &pb::Limits) -> pb::ImageOptions {
    let synthesis = &facts.synthesis;
    let base = synthesis.base_image_size;
    let wanted = config.defaults.image_size.unwrap_or(if base >= FULL_BASE { FULL_SIZE } else { base });
    // The largest multiple of the stride that is neither larger than wanted nor beyond the limit.
    let held = limits.max_output_pixels.isqrt().min(u64::from(u32::MAX)) as u32;
    let side = (wanted.min(held) / synthesis.stride).max(1) * synthesis.stride;
    let places = (side / synthesis.stride).pow(2);
    let head_steps = config.defaults.head_steps.unwrap_or(synthesis.default_head_steps);
    pb::ImageOptions {
        seed: None,
        n: Some(1),
        iterations: Some(iterations(config.defaults.iterations, places, limits)),
        head_steps: Some(head_steps.clamp(1, limits.max_head_steps)),
        guidance_scale: Some(config.defaults.guidance_scale),
        guidance_schedule: pb::GuidanceSchedule::Constant as i32,
        temperature: Some(config.defaults.temperature),
        width: Some(side),
        height: Some(side),
        output_format: pb::ImageFormat::Png as i32,
        preview_every: Some(0),
    }
}

/// Iterations for an image of so many places: as configured, or made to fit; never more than places.
fn iterations(configured: Option<u32>, places: u32, limits: &pb::Limits) -> u32 {
    let fitting = ITERATIONS.min(places / PLACES_PER_ITERATION).min(limits.max_iterations);
    configured.unwrap_or(fitting).min(places).max(1)
}

/// A name for weights that do not bring one: the published and the embedded model are known by their sizes.
fn name(facts: &Facts) -> String {
    match (facts.decoder.llm_width, facts.synthesis.base_image_size) {
        (1536, 512) => "unipic-1.5b".to_owned(),
        (192, 128) => "nano".to_owned(),
        (width, base) => format!("unipic-h{width}-{base}px"),
    }
}

/// SHA-256 over the parts' hashes with their names.
fn combined_hash(facts: &Facts) -> String {
    let Facts { understanding, synthesis, decoder } = facts;
    let parts = [
        ("understanding", &understanding.weights_sha256),
        ("synthesis", &synthesis.weights_sha256),
        ("decoder", &decoder.weights_sha256),
    ];
    let mut hash = Sha256::new();
    for (part, sha256) in parts {
        hash.update(format!("{part} {sha256}\n"));
    }
    format!("{:x}", hash.finalize())
}
