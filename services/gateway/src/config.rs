//! The gateway's configuration: parsed once, judged whole, never read again from elsewhere.

mod admission;

use serde::Deserialize;
use unipic_api::limits::PUBLIC_REQUEST_BYTES;
use unipic_client::{ClientTlsConfig, Endpoint, RetryPolicy, ServerIdentity};
use unipic_serving::{ConnectionsConfig, ListenAddress, OpsConfig, Problems, ServerConfig, ServerTlsConfig, Validate};
use unipic_telemetry::TelemetryConfig;

use crate::auth::AuthConfig;
use crate::http::{HttpConfig, HttpListen};
pub use admission::{AdmissionConfig, QuotaConfig, TenantsConfig};

/// Everything an operator can set. Keys in files are the fields' names; in the environment `UNIPIC_GATEWAY_` and the key
/// in capitals, tables separated by `__`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the public service listens: `127.0.0.1:50051` or `unix:/path`.
    pub listen: ListenAddress,
    /// The HTTP API, on a port of its own.
    pub http: HttpConfig,
    /// How long a stop waits for the calls under way, in seconds.
    pub drain_seconds: f64,
    /// The longest a request may take, waiting included, in seconds, whatever deadline its client gives.
    pub max_call_seconds: f64,
    /// How many connections each listener may have, and for how long without a call.
    pub connections: ConnectionsConfig,
    /// Encryption of the public service, gRPC and HTTP alike, and which peers may call it.
    pub tls: ServerTlsConfig,
    /// Keys of the public service.
    pub auth: AuthConfig,
    /// Replicas of the understanding encoder, each `https://host:port`, `http://host:port` or `unix:/path`; or
    /// `https+dns://host:port` or `dns:///host:port` for all that a name stands for, looked up again every few seconds.
    pub understanding: Vec<Endpoint>,
    /// Replicas of the synthesis service.
    pub synthesis: Vec<Endpoint>,
    /// Replicas of the decoder.
    pub decoder: Vec<Endpoint>,
    /// Encryption of the connections to `https://` replicas.
    pub client_tls: ClientTlsConfig,
    /// Who the replicas must be, where services have identities of their own.
    pub server_identities: ServerIdentities,
    /// Name told by GetModel; made from the sizes when left out.
    pub model_name: Option<String>,
    /// What is accepted.
    pub limits: LimitsConfig,
    /// Values for fields left out of requests.
    pub defaults: Defaults,
    /// How many requests run and wait.
    pub admission: AdmissionConfig,
    /// What each tenant may use.
    pub tenants: TenantsConfig,
    /// What is kept to serve it again.
    pub cache: CacheConfig,
    /// What happens when a replica behind the gateway is lost.
    pub failover: RetryPolicy,
    /// Seconds between two looks at what the backends hold.
    pub refresh_seconds: u64,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// Metrics and probes for operators.
    pub ops: OpsConfig,
}

/// One replica on this host.
fn local(port: u16) -> Vec<Endpoint> {
    format!("http://127.0.0.1:{port}").parse().into_iter().collect()
}

impl Default for Config {
    fn default() -> Self {
        let server = ServerConfig::default();
        Self {
            listen: server.listen,
            http: HttpConfig::default(),
            drain_seconds: server.drain_seconds,
            max_call_seconds: server.max_call_seconds,
            connections: server.connections,
            tls: server.tls,
            auth: AuthConfig::default(),
            understanding: local(50052),
            synthesis: local(50053),
            decoder: local(50054),
            client_tls: ClientTlsConfig::default(),
            server_identities: ServerIdentities::default(),
            model_name: None,
            limits: LimitsConfig::default(),
            defaults: Defaults::default(),
            admission: AdmissionConfig::default(),
            tenants: TenantsConfig::default(),
            cache: CacheConfig::default(),
            failover: RetryPolicy::default(),
            refresh_seconds: 30,
            telemetry: TelemetryConfig::for_service("unipic-gateway"),
            ops: OpsConfig::default(),
        }
    }
}

/// Who the services behind the gateway must be: `spiffe://domain/service`, `spiffe://domain/*` or a host name. One left out
/// is held to `client_tls.server_identity`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerIdentities {
    /// The understanding encoder.
    pub understanding: Option<ServerIdentity>,
    /// The synthesis service.
    pub synthesis: Option<ServerIdentity>,
    /// The decoder.
    pub decoder: Option<ServerIdentity>,
}

/// What is accepted. Limits that depend on the model (output pixels, prompt bytes) are cut further by what it can hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
    /// Images that are decoded or encoded at once, each on a thread of its own. Left out: one a core. 0: in place, on the
    /// threads that serve, for a process whose images are so small that the way to another thread is the longer one.
    pub max_image_jobs: Option<usize>,
    /// Bytes of image files in requests that are being judged, of all together: those that wait for their images to be decoded
    /// are held in memory. More are refused until some are.
    pub max_waiting_image_bytes: u32,
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
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_prompt_bytes: 8 << 10,
            max_image_bytes: 32 << 20,
            max_image_pixels: 64_000_000,
            max_decode_bytes: 512 << 20,
            max_image_jobs: None,
            max_waiting_image_bytes: 256 << 20,
            max_output_pixels: None,
            max_n: 8,
            max_iterations: 256,
            max_head_steps: 1000,
            max_guidance_scale: 30.0,
            max_temperature: 2.0,
            max_answer_tokens: 1024,
            max_images: 8,
            max_turns: 32,
        }
    }
}

/// Values for fields left out of requests.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// Iterations of the loop, at most one for each place of the image. Left out: 32 as published, and for small images one
    /// for every four places, since more cost time and reveal hardly a place each.
    pub iterations: Option<u32>,
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
            iterations: None,
            head_steps: None,
            guidance_scale: 3.0,
            temperature: 1.0,
            image_size: None,
            answer_tokens: 1024,
        }
    }
}

/// What is kept to serve it again.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Embeddings of images, per tenant: a conversation sends its images with every turn. In MiB; 0 keeps none.
    pub encoded_mib: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        // About forty images of the published encoder in f32.
        Self { encoded_mib: 256 }
    }
}

impl CacheConfig {
    pub(crate) fn encoded_bytes(&self) -> u64 {
        self.encoded_mib.saturating_mul(1 << 20)
    }
}

impl Config {
    /// What the server itself needs.
    #[must_use]
    pub fn server(&self) -> ServerConfig {
        ServerConfig {
            listen: self.listen.clone(),
            drain_seconds: self.drain_seconds,
            max_call_seconds: self.max_call_seconds,
            connections: self.connections.clone(),
            tls: self.tls.clone(),
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        self.server().validate(problems);
        let is_encrypted =
            self.client_tls != ClientTlsConfig::default() || self.server_identities != ServerIdentities::default();
        for (key, endpoints) in
            [("understanding", &self.understanding), ("synthesis", &self.synthesis), ("decoder", &self.decoder)]
        {
            problems.check(!endpoints.is_empty(), key, "needs at least one endpoint");
            let is_right = !is_encrypted || !endpoints.iter().any(Endpoint::is_plain);
            let what = "has an endpoint without TLS although `client_tls` is set: write https:// or https+dns://";
            problems.check(is_right, key, what);
        }
        problems.section("auth", &self.auth);
        if let Some(HttpListen::At(address)) = &self.http.listen {
            check_web(address, &self.tls, problems);
        }
        problems.section("client_tls", &self.client_tls);
        let named = self.model_name.as_ref().is_none_or(|name| !name.trim().is_empty());
        problems.check(named, "model_name", "must not be empty");
        problems.check(self.refresh_seconds >= 1, "refresh_seconds", "must be at least 1");
        problems.section("http", &self.http);
        problems.section("limits", &self.limits);
        problems.section("defaults", &WithLimits(&self.defaults, &self.limits));
        problems.section("admission", &self.admission);
        problems.section("tenants", &self.tenants);
        for (key, problem) in self.failover.violations() {
            problems.add(&format!("failover.{key}"), problem);
        }
        problems.section("telemetry", &self.telemetry);
        problems.section("ops", &self.ops);
    }
}

/// What cannot be kept on the HTTP API's port must not be promised there.
fn check_web(address: &ListenAddress, tls: &ServerTlsConfig, problems: &mut Problems) {
    let is_unix = matches!(address, ListenAddress::Unix(_));
    problems.check(!(is_unix && tls.is_on()), "http.listen", "a Unix socket is not encrypted: listen on TCP");
    let has_methods = !tls.allowed_methods.is_empty();
    let what = "names methods of gRPC, which HTTP has not: use `tls.allowed`, or `off` for `http.listen`";
    problems.check(!has_methods, "tls.allowed_methods", what);
}

impl Validate for LimitsConfig {
    fn validate(&self, problems: &mut Problems) {
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
        ];
        for (key, value) in counts {
            problems.check(value > 0, key, "must be at least 1");
        }
        problems.check((1..=1000).contains(&self.max_head_steps), "max_head_steps", "must be from 1 to 1000");
        let jobs = self.max_image_jobs.is_none_or(|jobs| jobs <= 1_000_000);
        problems.check(jobs, "max_image_jobs", "must be at most 1000000");
        let enough = self.max_waiting_image_bytes as usize >= PUBLIC_REQUEST_BYTES;
        let what = format!("must be at least {PUBLIC_REQUEST_BYTES}, which one request may have");
        problems.check(enough, "max_waiting_image_bytes", what);
        for (key, value) in [("max_guidance_scale", self.max_guidance_scale), ("max_temperature", self.max_temperature)]
        {
            problems.check(value.is_finite() && value >= 0.0, key, "must be a number of at least 0");
        }
    }
}

/// Defaults are judged by the limits they stand in for.
struct WithLimits<'a>(&'a Defaults, &'a LimitsConfig);

impl Validate for WithLimits<'_> {
    fn validate(&self, problems: &mut Problems) {
        let Self(defaults, limits) = self;
        let counts = [
            ("iterations", defaults.iterations.unwrap_or(1), limits.max_iterations),
            ("head_steps", defaults.head_steps.unwrap_or(1), limits.max_head_steps),
            ("answer_tokens", defaults.answer_tokens, limits.max_answer_tokens),
            ("image_size", defaults.image_size.unwrap_or(1), u32::MAX),
        ];
        for (key, value, most) in counts {
            problems.check((1..=most).contains(&value), key, format!("must be from 1 to {most}"));
        }
        for (key, value, most) in [
            ("guidance_scale", defaults.guidance_scale, limits.max_guidance_scale),
            ("temperature", defaults.temperature, limits.max_temperature),
        ] {
            problems.check((0.0..=most).contains(&value), key, format!("must be from 0 to {most}"));
        }
    }
}
