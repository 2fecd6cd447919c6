//! The gateway's configuration: parsed once, judged whole, never read again from elsewhere.

use serde::{Deserialize, Serialize};

/// Everything an operator can set. Keys in files are the fields' names; in the environment `UNIPIC_GATEWAY_` and the key
/// in capitals, tables separated by `__`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the public service listens: `host:port` or `unix:/path`.
    pub listen: String,
    /// Replicas of the understanding encoder, as URLs (`http://host:port`) or `unix:/path`.
    pub understanding: Vec<String>,
    /// Replicas of the synthesis service.
    pub synthesis: Vec<String>,
    /// Replicas of the decoder.
    pub decoder: Vec<String>,
    /// Name told by GetModel; made from the sizes when left out.
    pub model_name: Option<String>,
    /// What is accepted.
    pub limits: LimitsConfig,
    /// Values for fields left out of requests.
    pub defaults: Defaults,
    /// How many requests run and wait.
    pub admission: AdmissionConfig,
    /// Seconds between two looks at what the backends hold.
    pub refresh_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:50051".to_owned(),
            understanding: vec!["http://127.0.0.1:50052".to_owned()],
            synthesis: vec!["http://127.0.0.1:50053".to_owned()],
            decoder: vec!["http://127.0.0.1:50054".to_owned()],
            model_name: None,
            limits: LimitsConfig::default(),
            defaults: Defaults::default(),
            admission: AdmissionConfig::default(),
            refresh_seconds: 30,
        }
    }
}

/// What is accepted. Limits that depend on the model (output pixels, prompt bytes) are cut further by what it can hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Bytes of a prompt, an instruction or a text part.
    pub max_prompt_bytes: u32,
    /// Bytes of an image file.
    pub max_image_bytes: u32,
    /// Pixels of a source image.
    pub max_image_pixels: u64,
    /// Bytes of memory that decoding one image may take.
    pub max_decode_bytes: u64,
    /// Pixels of one output image. Left out: 1024·1024 for the published model, four base images for smaller ones.
    pub max_output_pixels: Option<u64>,
    /// Images per request.
    pub max_n: u32,
    /// Iterations of the loop. More than there are places does no harm: those reveal nothing and cost nothing.
    pub max_iterations: u32,
    /// Sampling steps of the head; the schedule has 1000.
    pub max_head_steps: u32,
    /// Guidance scale. Beyond a few tens the sampler leaves the range its arithmetic holds.
    pub max_guidance_scale: f32,
    /// Temperature of images and of answers.
    pub max_temperature: f32,
    /// Tokens of an answer.
    pub max_answer_tokens: u32,
    /// Images in a conversation.
    pub max_images: u32,
    /// Turns of a conversation.
    pub max_turns: u32,
    /// Seconds a request may take, waiting included, whatever deadline its client set.
    pub max_request_seconds: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_prompt_bytes: 8 << 10,
            max_image_bytes: 32 << 20,
            max_image_pixels: 64_000_000,
            max_decode_bytes: 512 << 20,
            max_output_pixels: None,
            max_n: 8,
            max_iterations: 256,
            max_head_steps: 1000,
            max_guidance_scale: 30.0,
            max_temperature: 2.0,
            max_answer_tokens: 1024,
            max_images: 8,
            max_turns: 32,
            max_request_seconds: 3600,
        }
    }
}

/// Values for fields left out of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// Iterations of the loop; fewer where the image has fewer places.
    pub iterations: u32,
    /// Sampling steps of the head. Left out: what the synthesis service was published with.
    pub head_steps: Option<u32>,
    /// Guidance scale.
    pub guidance_scale: f32,
    /// Temperature of images.
    pub temperature: f32,
    /// Side of the image in pixels. Left out: 1024 where the base image has 512 pixels or more, else the base image's.
    pub image_size: Option<u32>,
    /// Tokens of an answer.
    pub answer_tokens: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            iterations: 32,
            head_steps: None,
            guidance_scale: 3.0,
            temperature: 1.0,
            image_size: None,
            answer_tokens: 1024,
        }
    }
}

/// How many requests run and wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Requests that run at once.
    pub max_running: usize,
    /// Requests that may wait; one more is refused.
    pub max_queued: usize,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { max_running: 8, max_queued: 64 }
    }
}

impl Config {
    /// Everything that is wrong with the values, each naming its key; empty when all is well.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.limits.problems();
        let mut check = |fine: bool, problem: String| {
            if !fine {
                problems.push(problem);
            }
        };
        check(!self.listen.trim().is_empty(), "listen: must not be empty".to_owned());
        for (key, endpoints) in
            [("understanding", &self.understanding), ("synthesis", &self.synthesis), ("decoder", &self.decoder)]
        {
            check(!endpoints.is_empty(), format!("{key}: needs at least one endpoint"));
            for (index, endpoint) in endpoints.iter().enumerate() {
                let known = ["http://", "https://", "unix:"].iter().any(|scheme| endpoint.starts_with(scheme));
                check(known, format!("{key}[{index}]: {endpoint:?} is neither http://, https:// nor unix:"));
            }
        }
        let named = self.model_name.as_ref().is_none_or(|name| !name.trim().is_empty());
        check(named, "model_name: must not be empty".to_owned());
        check(self.refresh_seconds >= 1, "refresh_seconds: must be at least 1".to_owned());
        check(self.admission.max_running >= 1, "admission.max_running: must be at least 1".to_owned());
        // Tokio's semaphore ends there; nobody runs as many.
        let countable = self.admission.max_running.max(self.admission.max_queued) <= 1_000_000;
        check(countable, "admission: max_running and max_queued must be at most 1000000".to_owned());
        problems.extend(self.defaults.problems(&self.limits));
        problems
    }
}

impl LimitsConfig {
    fn problems(&self) -> Vec<String> {
        let counts = [
            ("max_prompt_bytes", u64::from(self.max_prompt_bytes)),
            ("max_image_bytes", u64::from(self.max_image_bytes)),
            ("max_image_pixels", self.max_image_pixels),
            ("max_decode_bytes", self.max_decode_bytes),
            ("max_output_pixels", self.max_output_pixels.unwrap_or(1)),
            ("max_n", u64::from(self.max_n)),
            ("max_iterations", u64::from(self.max_iterations)),
            ("max_answer_tokens", u64::from(self.max_answer_tokens)),
            ("max_images", u64::from(self.max_images)),
            ("max_turns", u64::from(self.max_turns)),
            ("max_request_seconds", self.max_request_seconds),
        ];
        let zeros = counts.iter().filter(|(_, value)| *value == 0);
        let mut problems: Vec<_> = zeros.map(|(key, _)| format!("limits.{key}: must be at least 1")).collect();
        if !(2..=1000).contains(&self.max_head_steps) {
            problems.push("limits.max_head_steps: must be between 2 and 1000".to_owned());
        }
        for (key, value) in [("max_guidance_scale", self.max_guidance_scale), ("max_temperature", self.max_temperature)]
        {
            if !value.is_finite() || value < 0.0 {
                problems.push(format!("limits.{key}: must be a number of at least 0"));
            }
        }
        problems
    }
}

impl Defaults {
    fn problems(&self, limits: &LimitsConfig) -> Vec<String> {
        let mut problems = Vec::new();
        let mut within = |key: &str, value: u32, least: u32, most: u32| {
            if !(least..=most).contains(&value) {
                problems.push(format!("defaults.{key}: must be between {least} and {most}"));
            }
        };
        within("iterations", self.iterations, 1, limits.max_iterations);
        within("head_steps", self.head_steps.unwrap_or(2), 2, limits.max_head_steps);
        within("answer_tokens", self.answer_tokens, 1, limits.max_answer_tokens);
        within("image_size", self.image_size.unwrap_or(1), 1, u32::MAX);
        for (key, value, most) in [
            ("guidance_scale", self.guidance_scale, limits.max_guidance_scale),
            ("temperature", self.temperature, limits.max_temperature),
        ] {
            if !(0.0..=most).contains(&value) {
                problems.push(format!("defaults.{key}: must be between 0 and {most}"));
            }
        }
        problems
    }
}
