//! What an operator chooses about logs, traces and metrics.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: one line an event.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// How spans and metrics travel to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum OtlpProtocol {
    /// OTLP over gRPC; collectors listen for it on port 4317.
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP in protobuf over plain HTTP; collectors listen for it on port 4318.
    #[serde(rename = "http/protobuf")]
    Http,
}

/// Configuration of logs, traces and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// `service.name` of the spans, such as `unipic-gateway`.
    pub service_name: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, in the syntax of tracing's `EnvFilter`, such as `info,unipic_engine=debug`.
    pub log_filter: String,
    /// Where spans and metrics go: the `http://host:port` of an OTLP collector. Nothing is exported without it. Over HTTP it
    /// may have a path, which `/v1/traces` and `/v1/metrics` are added to.
    pub otlp_endpoint: Option<String>,
    /// What that collector speaks: `grpc` or `http/protobuf`.
    pub otlp_protocol: OtlpProtocol,
    /// Seconds between two exports of metrics to that collector.
    pub metrics_seconds: u64,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            service_name: "unipic".into(),
            log_format: LogFormat::Text,
            log_filter: "info".into(),
            otlp_endpoint: None,
            otlp_protocol: OtlpProtocol::Grpc,
            metrics_seconds: 15,
        }
    }
}

impl TelemetryConfig {
    /// The defaults under a service's name.
    pub fn for_service(service_name: impl Into<String>) -> Self {
        Self { service_name: service_name.into(), ..Self::default() }
    }

    /// Gives the spans this service's name unless another was chosen: a table in a file that sets something else leaves the
    /// name at the default that all services have in common.
    pub fn name_service(&mut self, service_name: &str) {
        if self.service_name == Self::default().service_name {
            self.service_name = service_name.into();
        }
    }

    /// Everything that is wrong, as (key, what is wrong with its value).
    pub fn violations(&self) -> Vec<(&'static str, String)> {
        let mut violations = Vec::new();
        if self.service_name.is_empty() {
            violations.push(("service_name", "must not be empty".into()));
        }
        if let Err(error) = EnvFilter::try_new(&self.log_filter) {
            violations.push(("log_filter", error.to_string()));
        }
        if let Some(endpoint) = &self.otlp_endpoint
            && !is_plain_http(endpoint)
        {
            violations.push(("otlp_endpoint", format!("{endpoint:?} is not of the form http://host:port")));
        }
        if !(1..=3600).contains(&self.metrics_seconds) {
            violations.push(("metrics_seconds", "must be from 1 to 3600".into()));
        }
        violations
    }
}

/// True for `http://authority`; TLS to the collector is not built in.
fn is_plain_http(endpoint: &str) -> bool {
    endpoint
        .parse::<http::Uri>()
        .is_ok_and(|uri| uri.scheme() == Some(&http::uri::Scheme::HTTP) && uri.authority().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(TelemetryConfig::for_service("x").violations(), vec![]);
    }

    #[test]
    fn every_violation_is_told_with_its_key() {
        let config = TelemetryConfig {
            service_name: String::new(),
            log_format: LogFormat::Json,
            log_filter: "unipic=loudly".into(),
            otlp_endpoint: Some("localhost:4317".into()),
            otlp_protocol: OtlpProtocol::Http,
            metrics_seconds: 0,
        };
        let keys: Vec<_> = config.violations().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["service_name", "log_filter", "otlp_endpoint", "metrics_seconds"]);
    }
}
