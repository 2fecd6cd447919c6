//! The process's configuration: parsed once, judged whole, never read again from elsewhere.

use std::path::Path;

use figment::Provider;
use serde::{Deserialize, Deserializer};
use unipic_client::{ClientTlsConfig, Endpoint, RetryPolicy};
use unipic_models::load::LoadConfig;
use unipic_serving::{
    ConfigError, ConnectionsConfig, ListenAddress, OpsConfig, Problems, ServerConfig, ServerTlsConfig, Validate, config,
};
use unipic_telemetry::TelemetryConfig;

use crate::spec::Bounds;
use crate::synthesis::Limits;

/// What the process calls itself in traces.
const NAME: &str = "unipic-synthesis";

/// Everything an operator can set. Keys in files are the fields' names; in the environment `UNIPIC_SYNTHESIS_` and the
/// key in capitals, tables separated by `__`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen: `127.0.0.1:50053` or `unix:/path`.
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
    /// Replicas of the decoder service: `https://host:port`, `http://host:port` or `unix:/path`; or
    /// `https+dns://host:port` or `dns:///host:port` for all that a name stands for; one, or a list.
    #[serde(deserialize_with = "endpoints")]
    pub decoder: Vec<Endpoint>,
    /// Encryption of the connections to `https://` replicas of the decoder, and who they must be.
    pub client_tls: ClientTlsConfig,
    /// Latent places that an image may have: 4096 is 1024×1024 px.
    pub max_places: usize,
    /// Images per request.
    pub max_images: usize,
    /// Requests that run at the same time; more are refused.
    pub max_concurrent: usize,
    /// Rows of a batch.
    pub max_batch_tokens: usize,
    /// What happens when a decoder is lost.
    pub failover: RetryPolicy,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// Metrics and probes for operators.
    pub ops: OpsConfig,
}

impl Default for Config {
    fn default() -> Self {
        let (server, load) = (ServerConfig::default(), LoadConfig::default());
        Self {
            listen: ListenAddress::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 50053))),
            drain_seconds: server.drain_seconds,
            max_call_seconds: server.max_call_seconds,
            connections: server.connections,
            tls: server.tls,
            model: load.model,
            device: load.device,
            dtype: load.dtype,
            linear: load.linear,
            decoder: Vec::new(),
            client_tls: ClientTlsConfig::default(),
            max_places: 4096,
            max_images: 16,
            max_concurrent: 32,
            max_batch_tokens: 16_384,
            // Shorter than the gateway's: it has other replicas of this service to ask.
            failover: RetryPolicy { patience_seconds: 20.0, ..RetryPolicy::default() },
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
        let mut config: Self = config::load(file, "UNIPIC_SYNTHESIS_", flags)?;
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

    /// What the service accepts.
    pub fn limits(&self) -> Limits {
        let bounds = Bounds { max_places: self.max_places, max_images: self.max_images };
        Limits { bounds, max_concurrent: self.max_concurrent }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        self.server().validate(problems);
        for (key, problem) in self.weights().problems() {
            problems.add(key, problem);
        }
        problems.check(!self.decoder.is_empty(), "decoder", "needs at least one endpoint");
        let is_mixed = self.client_tls != ClientTlsConfig::default() && self.decoder.iter().any(Endpoint::is_plain);
        let what = "has an endpoint without TLS although `client_tls` is set: write https:// or https+dns://";
        problems.check(!is_mixed, "decoder", what);
        problems.section("client_tls", &self.client_tls);
        for (key, value, max) in [
            ("max_places", self.max_places, 1 << 16),
            ("max_images", self.max_images, 1 << 10),
            ("max_concurrent", self.max_concurrent, 1 << 16),
            ("max_batch_tokens", self.max_batch_tokens, 1 << 24),
        ] {
            problems.check((1..=max).contains(&value), key, format!("must be from 1 to {max}"));
        }
        for (key, problem) in self.failover.violations() {
            problems.add(&format!("failover.{key}"), problem);
        }
        problems.section("telemetry", &self.telemetry);
        problems.section("ops", &self.ops);
    }
}

/// One endpoint or a list of them: an environment variable is most naturally one.
fn endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Endpoint>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    let texts = match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    };
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use figment::providers::{Format, Toml};

    use super::*;

    fn load(toml: &str) -> Result<Config, ConfigError> {
        Config::load(None, Toml::string(toml))
    }

    #[test]
    fn one_decoder_or_a_list_is_taken() {
        let one = load("model = '/m'\ndecoder = 'http://a:1'").unwrap();
        let more = load("model = '/m'\ndecoder = ['http://a:1', 'unix:/run/d.sock']").unwrap();
        assert_eq!((one.decoder.len(), more.decoder.len()), (1, 2));
        assert_eq!(one.decoder[0], more.decoder[0]);
    }

    #[test]
    fn the_process_keeps_its_name_in_traces_unless_it_is_given_one() {
        let base = "model = '/m'\ndecoder = 'http://a:1'\n[telemetry]\n";
        let named = |rest: &str| load(&format!("{base}{rest}")).unwrap().telemetry.service_name;
        assert_eq!(named("log_filter = 'warn'"), "unipic-synthesis");
        assert_eq!(named("service_name = 'mine'"), "mine");
    }

    #[test]
    fn everything_wrong_is_told_by_key() {
        let error =
            load("model = ''\ndevice = 'tpu'\ndecoder = []\nmax_places = 0\nmax_call_seconds = -1.0").unwrap_err();
        for key in ["model", "device", "decoder", "max_places", "max_call_seconds"] {
            assert!(error.problems().iter().any(|p| p.starts_with(&format!("{key}:"))), "{key}: {error}");
        }
        for (toml, key) in [
            ("modle = '/m'", "modle"),
            ("decoder = 'a:1'", "decoder"),
            ("listen = 'somewhere'", "listen"),
            ("max_places = 'many'", "max_places"),
            ("[telemetry]\nendpoint = 'x'", "telemetry"),
            ("[failover]\npatience_seconds = -1", "failover.patience_seconds"),
            ("model = '/m'\ndecoder = 'http://a:1'\n[client_tls]\nca = 'ca.pem'", "without TLS"),
            ("model = '/m'\ndecoder = 'dns:///a:1'\n[client_tls]\nca = 'ca.pem'", "without TLS"),
        ] {
            assert!(load(toml).unwrap_err().to_string().contains(key), "{toml}");
        }
    }
}
