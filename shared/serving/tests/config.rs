//! Every source of a configuration, their precedence, and errors that name the key.

#![allow(clippy::unwrap_used, clippy::result_large_err)] // Tests fail by panicking; figment's jail returns its errors.

use figment::Jail;
use figment::providers::Serialized;
use serde::Deserialize;
use unipic_measures::measured;
use unipic_serving::config::load;
use unipic_serving::{ConfigError, ListenAddress, Problems, ServerConfig, Validate};
use unipic_telemetry::TelemetryConfig;

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    server: ServerConfig,
    telemetry: TelemetryConfig,
    queue: u32,
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        problems.section("server", &self.server);
        problems.section("telemetry", &self.telemetry);
        problems.check(self.queue < 100, "queue", "must be below 100");
    }
}

fn load_text(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unipic.toml");
    std::fs::write(&path, text).unwrap();
    load(Some(&path), "UNIPIC_TEST_NONE_", figment::Figment::new())
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    Jail::expect_with(|jail| {
        jail.create_file("unipic.toml", "queue = 1\n[server]\nlisten = \"127.0.0.1:1\"\ndrain_seconds = 1.0")?;
        jail.set_env("UNIPIC_TEST_QUEUE", "2");
        jail.set_env("UNIPIC_TEST_SERVER__LISTEN", "127.0.0.1:2");
        let flags = Serialized::default("queue", 3);
        let config: Config = load(Some("unipic.toml".as_ref()), "UNIPIC_TEST_", flags).unwrap();
        assert_eq!(config.queue, 3);
        assert_eq!(config.server.listen, "127.0.0.1:2".parse::<ListenAddress>().unwrap());
        assert_eq!(config.server.drain_seconds, 1.0);
        assert_eq!(config.server.max_call_seconds, ServerConfig::default().max_call_seconds);
        Ok(())
    });
}

#[test]
fn nothing_given_is_the_defaults() {
    let config: Config = load(None, "UNIPIC_TEST_NONE_", figment::Figment::new()).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn bad_files_are_refused_naming_the_key() {
    let cases = [
        ("quuee = 1", "quuee"),
        ("[server]\nlissten = \"127.0.0.1:1\"", "lissten"),
        ("[telemetry]\ncolour = true", "colour"),
        ("queue = \"many\"", "queue"),
        ("queue = -1", "queue"),
        ("queue = 1.5", "queue"),
        ("queue = 100", "queue"),
        ("server = 1", "server"),
        ("[server]\nlisten = 50051", "server.listen"),
        ("[server]\nlisten = \"50051\"", "server.listen"),
        ("[server]\nlisten = \"unix:relative\"", "server.listen"),
        ("[server]\ndrain_seconds = \"long\"", "server.drain_seconds"),
        ("[server]\ndrain_seconds = -1.0", "server.drain_seconds"),
        ("[server]\ndrain_seconds = nan", "server.drain_seconds"),
        ("[server]\nmax_call_seconds = 0.0", "server.max_call_seconds"),
        ("[server]\nmax_call_seconds = inf", "server.max_call_seconds"),
        ("[server.connections]\nidle_seconds = 0.0", "server.connections.idle_seconds"),
        ("[server.connections]\nidle_seconds = inf", "server.connections.idle_seconds"),
        ("[server.connections]\nmax_per_address = 0", "server.connections.max_per_address"),
        ("[server.connections]\nmax_per_address = 4097", "server.connections.max_per_address"),
        ("[server.connections]\nmax = 1", "server.connections"),
        ("[telemetry]\notlp_protocol = \"http/json\"", "telemetry.otlp_protocol"),
        ("[telemetry]\nlog_format = \"xml\"", "telemetry.log_format"),
        ("[telemetry]\nlog_filter = \"a=b=c\"", "telemetry.log_filter"),
        ("[telemetry]\notlp_endpoint = \"collector\"", "telemetry.otlp_endpoint"),
        ("[telemetry]\nservice_name = \"\"", "telemetry.service_name"),
        ("queue = ", "unipic.toml"),
    ];
    for (text, key) in cases {
        let error = load_text(text).unwrap_err().to_string();
        assert!(error.contains(key), "{text:?}: {error}");
    }
    measured!("files", cases.len());
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text =
        "queue = 1000\n[server]\ndrain_seconds = -1.0\nmax_call_seconds = -1.0\n[telemetry]\nlog_filter = \"a=b=c\"";
    let error = load_text(text).unwrap_err();
    assert_eq!(error.problems().len(), 4, "{error}");
}

#[test]
fn a_missing_file_and_a_misspelt_variable_are_errors() {
    let error = load::<Config>(Some("/nowhere/u.toml".as_ref()), "UNIPIC_TEST_NONE_", figment::Figment::new());
    assert!(error.unwrap_err().to_string().contains("/nowhere/u.toml"));
    Jail::expect_with(|jail| {
        jail.set_env("UNIPIC_TEST2_SERVER__LISSTEN", "127.0.0.1:2");
        let error = load::<Config>(None, "UNIPIC_TEST2_", figment::Figment::new()).unwrap_err().to_string();
        assert!(error.contains("lissten"), "{error}");
        Ok(())
    });
}
