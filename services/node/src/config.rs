//! The node's configuration: the services' keys that make sense in one process.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use unipic_gateway::auth::AuthConfig;
use unipic_gateway::{AdmissionConfig, CacheConfig, Defaults, HttpConfig, HttpListen, LimitsConfig, TenantsConfig};
use unipic_models::load::LoadConfig;
use unipic_serving::{ConnectionsConfig, ListenAddress, OpsConfig, Problems, ServerConfig, ServerTlsConfig, Validate};
use unipic_telemetry::TelemetryConfig;

/// Everything an operator can set. Keys in files are the fields' names; in the environment `UNIPIC_NODE_` and the key in
/// capitals, tables separated by `__`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the public service listens: `127.0.0.1:50051` or `unix:/path`.
    pub listen: ListenAddress,
    /// The HTTP API and the page, on a port of their own: at 127.0.0.1:8080 where `http.listen` is left out.
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
    /// `nano`, the embedded model, or the folder of a checkpoint in any layout.
    pub model: PathBuf,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// `auto`, `f32` or `bf16`.
    pub dtype: String,
    /// How linear layers are held: `dense` or `q8_0`.
    pub linear: String,
    /// Tokens that one pass of the device may hold.
    pub max_batch_tokens: usize,
    /// Keys and values of beginnings of prompts, kept for the tenant that sent them, in MiB; 0 keeps none.
    pub prefix_cache_mib: u64,
    /// Latent places of one image, at most; 4096 are 1024×1024 px.
    pub max_places: usize,
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
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// Metrics and probes for operators.
    pub ops: OpsConfig,
}

/// Where the HTTP API listens when nothing is said: on loopback, as gRPC does, since keys are not asked for by default.
pub(crate) fn default_http() -> ListenAddress {
    ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))
}

impl Default for Config {
    fn default() -> Self {
        let (gateway, load) = (unipic_gateway::Config::default(), LoadConfig::default());
        Self {
            listen: gateway.listen,
            http: gateway.http,
            drain_seconds: gateway.drain_seconds,
            max_call_seconds: gateway.max_call_seconds,
            connections: gateway.connections,
            tls: gateway.tls,
            auth: gateway.auth,
            model: load.model,
            device: load.device,
            dtype: load.dtype,
            linear: load.linear,
            max_batch_tokens: 16_384,
            prefix_cache_mib: unipic_decoder::DEFAULT_PREFIX_BYTES >> 20,
            max_places: 4096,
            model_name: None,
            limits: gateway.limits,
            defaults: gateway.defaults,
            admission: gateway.admission,
            tenants: gateway.tenants,
            cache: gateway.cache,
            telemetry: TelemetryConfig::for_service("unipic-node"),
            ops: OpsConfig::default(),
        }
    }
}

impl Config {
    /// Which checkpoint is loaded, onto what and how.
    pub fn load(&self) -> LoadConfig {
        LoadConfig {
            model: self.model.clone(),
            device: self.device.clone(),
            dtype: self.dtype.clone(),
            linear: self.linear.clone(),
        }
    }

    /// The gateway's share. Its endpoints are not used: the backends are in this process.
    pub fn gateway(&self) -> unipic_gateway::Config {
        unipic_gateway::Config {
            listen: self.listen.clone(),
            http: self.http.clone(),
            drain_seconds: self.drain_seconds,
            max_call_seconds: self.max_call_seconds,
            connections: self.connections.clone(),
            tls: self.tls.clone(),
            auth: self.auth.clone(),
            model_name: self.model_name.clone(),
            limits: self.limits.clone(),
            defaults: self.defaults.clone(),
            admission: self.admission.clone(),
            tenants: self.tenants.clone(),
            cache: self.cache.clone(),
            telemetry: self.telemetry.clone(),
            ops: self.ops.clone(),
            ..unipic_gateway::Config::default()
        }
    }

    /// What the server itself needs.
    pub fn server(&self) -> ServerConfig {
        self.gateway().server()
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        // Where the HTTP API would listen is judged like where it was told to.
        let mut gateway = self.gateway();
        gateway.http.listen.get_or_insert_with(|| HttpListen::At(default_http()));
        gateway.validate(problems);
        for (key, problem) in self.load().problems() {
            problems.add(key, problem);
        }
        problems.check(self.max_batch_tokens > 0, "max_batch_tokens", "must be at least 1");
        problems.check((1..=65_536).contains(&self.max_places), "max_places", "must be from 1 to 65536");
    }
}
