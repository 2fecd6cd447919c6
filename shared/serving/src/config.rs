//! Configuration from a file, the environment and flags, in rising order of precedence, validated as a whole.
//!
//! A service's configuration is one struct of plain values with `#[serde(default, deny_unknown_fields)]` on it and on
//! every struct inside (the second part is what makes a misspelt key an error rather than a setting that silently does
//! nothing) and an implementation of [`Validate`], which finds everything wrong at once.

use std::fmt;
use std::path::Path;

pub use figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Toml};
use figment::{Figment, Provider};
use serde::de::DeserializeOwned;
use unipic_telemetry::TelemetryConfig;
use unipic_tls::{ClientTlsConfig, ServerTlsConfig};

/// Values that can be wrong in ways their types do not rule out.
pub trait Validate {
    /// Notes everything that is wrong with `self`, each with its key.
    fn validate(&self, problems: &mut Problems);
}

/// What is wrong with a configuration, by key.
#[derive(Debug, Default)]
pub struct Problems {
    prefix: String,
    found: Vec<String>,
}

impl Problems {
    /// Notes that the value at `key` is wrong and how.
    pub fn add(&mut self, key: &str, problem: impl fmt::Display) {
        self.found.push(format!("{}{key}: {problem}", self.prefix));
    }

    /// Notes `problem` at `key` unless `is_right`.
    pub fn check(&mut self, is_right: bool, key: &str, problem: impl fmt::Display) {
        if !is_right {
            self.add(key, problem);
        }
    }

    /// Validates the section at `key`.
    pub fn section(&mut self, key: &str, section: &impl Validate) {
        let length = self.prefix.len();
        self.prefix.push_str(key);
        self.prefix.push('.');
        section.validate(self);
        self.prefix.truncate(length);
    }

    /// What was noted, as `key: problem`.
    pub fn found(&self) -> &[String] {
        &self.found
    }
}

impl Validate for TelemetryConfig {
    fn validate(&self, problems: &mut Problems) {
        for (key, problem) in self.violations() {
            problems.add(key, problem);
        }
    }
}

impl Validate for ServerTlsConfig {
    fn validate(&self, problems: &mut Problems) {
        for (key, problem) in self.violations() {
            problems.add(key, problem);
        }
        for method in self.allowed_methods.keys().filter(|method| !crate::peers::is_known(method)) {
            let problem = format!("{method:?} is no method of ours: write package.Service/Method or package.Service/*");
            problems.add("allowed_methods", problem);
        }
    }
}

impl Validate for ClientTlsConfig {
    fn validate(&self, problems: &mut Problems) {
        for (key, problem) in self.violations() {
            problems.add(key, problem);
        }
    }
}

/// Everything that is wrong with a configuration; each line names the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    /// The problems, one a line.
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad configuration: {}", self.0.join("\nbad configuration: "))
    }
}

/// Loads a configuration from a TOML file, then variables such as `UNIPIC_GATEWAY_SERVER__LISTEN` (with `env_prefix`
/// `UNIPIC_GATEWAY_` and `__` between the levels of a key), then `overrides`, a provider of what was given as flags.
///
/// Errors: a file that cannot be read or parsed, unknown keys, values of the wrong type, and all that [`Validate`]
/// finds, each with its key and, where a value has one, its source.
pub fn load<C: DeserializeOwned + Validate>(
    file: Option<&Path>,
    env_prefix: &str,
    overrides: impl Provider,
) -> Result<C, ConfigError> {
    let mut figment = Figment::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(vec![format!("cannot read {}: {error}", path.display())]))?;
        drop(text);
        figment = figment.merge(Toml::file_exact(path));
    }
    let figment = figment.merge(Env::prefixed(env_prefix).split("__")).merge(overrides);
    let config: C = figment.extract().map_err(|error| ConfigError(error.into_iter().map(describe).collect()))?;
    let mut problems = Problems::default();
    config.validate(&mut problems);
    match problems.found.is_empty() {
        true => Ok(config),
        false => Err(ConfigError(problems.found)),
    }
}

fn describe(error: figment::Error) -> String {
    let mut text = String::new();
    if !error.path.is_empty() {
        text = format!("{}: ", error.path.join("."));
    }
    // A key that was put in the wrong place must not be printed with the complaint about it.
    let is_secret = error.path.first().is_some_and(|section| section == "auth");
    match is_secret && matches!(error.kind, Kind::InvalidType(..) | Kind::InvalidValue(..) | Kind::Message(_)) {
        true => text.push_str("is not of the right form"),
        false => text.push_str(&error.kind.to_string()),
    }
    if let Some(metadata) = &error.metadata {
        let source = match &metadata.source {
            // Flags come as values of our own types, whose names and places in the code say nothing to an operator.
            Some(figment::Source::Code(_)) => "the command line".to_owned(),
            Some(source) => format!("{} {source}", metadata.name),
            None => metadata.name.to_string(),
        };
        text.push_str(&format!(" (from {source})"));
    }
    text
}
