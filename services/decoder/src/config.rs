//! The process's configuration: parsed once, judged whole, never read again from elsewhere.

use std::path::Path;

use figment::Provider;
use serde::Deserialize;
use unipic_models::load::LoadConfig;
use unipic_serving::{
    ConfigError, ConnectionsConfig, ListenAddress, OpsConfig, Problems, ServerConfig, ServerTlsConfig, Validate, config,
};
use unipic_telemetry::TelemetryConfig;

use crate::decoder::DEFAULT_PREFIX_BYTES;

/// What the process calls itself in traces.
const NAME: &str = "unipic-decoder";

/// Everything an operator can set. Keys in files are the fields' names; in the environment `UNIPIC_DECODER_` and the
/// key in capitals, tables separated by `__`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen: `127.0.0.1:50054` or `unix:/path`.
    pub listen: ListenAddress,
    /// How long a stop waits for the calls under way, in seconds.
    pub drain_seconds: f64,
    /// The longest a call may take, in seconds, whatever deadline its caller gives.
    pub max_call_seconds: f64,
    /// How many connections there may be, and for how long without a call.
    pub connections: ConnectionsConfig,
    /// Encryption, and which peers may call.
    pub tls: ServerTlsConfig,
    /// `nano`, the embedded model, or the folder of a checkpoint.
    pub model: std::path::PathBuf,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// `auto` (f32 on a CPU, bf16 on a GPU), `f32` or `bf16`.
    pub dtype: String,
    /// How linear layers are held: `dense` or `q8_0`.
    pub linear: String,
    /// Jobs that may wait for the device; more are refused.
    pub max_queued: usize,
    /// Rows of a batch: 16384 hold the probes of both branches of an image at 1024 px, and then some.
    pub max_batch_tokens: usize,
    /// Keys and values of beginnings of prompts, kept for the tenant that sent them: an image that is edited again, earlier
    /// turns of a conversation. In MiB of the device's memory; 0 keeps none.
    pub prefix_cache_mib: u64,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// Metrics and probes for operators.
    pub ops: OpsConfig,
}

impl Default for Config {
    fn default() -> Self {
        let (server, load) = (ServerConfig::default(), LoadConfig::default());
        Self {
            listen: ListenAddress::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 50054))),
            drain_seconds: server.drain_seconds,
            max_call_seconds: server.max_call_seconds,
            connections: server.connections,
            tls: server.tls,
            model: load.model,
            device: load.device,
            dtype: load.dtype,
            linear: load.linear,
            max_queued: 256,
            max_batch_tokens: 16_384,
            prefix_cache_mib: DEFAULT_PREFIX_BYTES >> 20,
            telemetry: TelemetryConfig::for_service(NAME),
            ops: OpsConfig::default(),
        }
    }
}

impl Config {
    /// Reads the file, the environment and the flags, in rising order of precedence.
    ///
    /// # Errors
    /// Everything that is wrong, each with its key.
    pub fn load(file: Option<&Path>, flags: impl Provider) -> Result<Self, ConfigError> {
        let mut config: Self = config::load(file, "UNIPIC_DECODER_", flags)?;
        config.telemetry.name_service(NAME);
        Ok(config)
    }

    /// What the server needs.
    pub fn server(&self) -> ServerConfig {
        ServerConfig {
            listen: self.listen.clone(),
            drain_seconds: self.drain_seconds,
            max_call_seconds: self.max_call_seconds,
            connections: self.connections.clone(),
            tls: self.tls.clone(),
        }
    }

    /// Bytes for beginnings of prompts.
    pub fn prefix_bytes(&self) -> u64 {
        self.prefix_cache_mib.saturating_mul(1 << 20)
    }

    /// What loading needs.
    pub fn weights(&self) -> LoadConfig {
        let (device, dtype, linear) = (self.device.clone(), self.dtype.clone(), self.linear.clone());
        LoadConfig { model: self.model.clone(), device, dtype, linear }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        self.server().validate(problems);
        for (key, problem) in self.weights().problems() {
            problems.add(key, problem);
        }
        for (key, value, max) in
            [("max_queued", self.max_queued, 1 << 16), ("max_batch_tokens", self.max_batch_tokens, 1 << 24)]
        {
            problems.check((1..=max).contains(&value), key, format!("must be from 1 to {max}"));
        }
        problems.section("telemetry", &self.telemetry);
        problems.section("ops", &self.ops);
    }
}

#[cfg(test)]
mod tests {
    use figment::providers::{Format, Toml};

    use super::*;

    fn load(toml: &str) -> Result<Config, ConfigError> {
        Config::load(None, Toml::string(toml))
    }

    #[test]
    fn the_process_keeps_its_name_in_traces_unless_it_is_given_one() {
        let named = |rest: &str| load(&format!("model = '/m'\n[telemetry]\n{rest}")).unwrap().telemetry.service_name;
        assert_eq!(named("log_filter = 'warn'"), "unipic-decoder");
        assert_eq!(named("service_name = 'mine'"), "mine");
    }

    #[test]
    fn everything_wrong_is_told_by_key() {
        let error = load("model = ''\ndevice = 'tpu'\nmax_queued = 0\nmax_call_seconds = -1.0").unwrap_err();
        for key in ["model", "device", "max_queued", "max_call_seconds"] {
            assert!(error.problems().iter().any(|p| p.starts_with(&format!("{key}:"))), "{key}: {error}");
        }
        for (toml, key) in
            [("modle = '/m'", "modle"), ("listen = 'somewhere'", "listen"), ("max_queued = 'x'", "max_queued")]
        {
            assert!(load(toml).unwrap_err().to_string().contains(key), "{toml}");
        }
    }
}
