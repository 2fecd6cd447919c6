//! The process's configuration: parsed once, judged whole, never read again from elsewhere.

use std::path::Path;

use figment::Provider;
use serde::Deserialize;
use unipic_models::load::LoadConfig;
use unipic_serving::{
    ConfigError, ConnectionsConfig, ListenAddress, OpsConfig, Problems, ServerConfig, ServerTlsConfig, Validate, config,
};
use unipic_telemetry::TelemetryConfig;

/// What the process calls itself in traces.
const NAME: &str = "unipic-understanding";

/// Everything an operator can set. Keys in files are the fields' names; in the environment `UNIPIC_UNDERSTANDING_` and the
/// key in capitals, tables separated by `__`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen: `127.0.0.1:50052` or `unix:/path`.
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
    /// Images that may wait; more are refused.
    pub max_queued: usize,
    /// Rows of a batch: 4096 are four images at the published size.
    pub max_batch_tokens: usize,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// Metrics and probes for operators.
    pub ops: OpsConfig,
}

impl Default for Config {
    fn default() -> Self {
        let (server, load) = (ServerConfig::default(), LoadConfig::default());
        Self {
            listen: ListenAddress::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 50052))),
            drain_seconds: server.drain_seconds,
            max_call_seconds: server.max_call_seconds,
            connections: server.connections,
            tls: server.tls,
            model: load.model,
            device: load.device,
            dtype: load.dtype,
            linear: load.linear,
            max_queued: 64,
            max_batch_tokens: 4096,
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
        let mut config: Self = config::load(file, "UNIPIC_UNDERSTANDING_", flags)?;
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
        assert_eq!(named("log_filter = 'warn'"), "unipic-understanding");
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
