//! The ways to an OTLP collector: gRPC, and protobuf over plain HTTP.

mod post;

use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use tokio::runtime::Handle;

use crate::config::OtlpProtocol;
use crate::setup::{EXPORT_TIMEOUT, TelemetryError};
use post::Post;

/// Sends spans to the collector at `endpoint`.
///
/// Errors: the exporter cannot be built, or there is no tokio runtime for its connection.
pub(crate) fn spans(endpoint: &str, protocol: OtlpProtocol) -> Result<SpanExporter, TelemetryError> {
    let runtime = runtime()?;
    let builder = SpanExporter::builder();
    let built = match protocol {
        OtlpProtocol::Grpc => builder.with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build(),
        OtlpProtocol::Http => builder
            .with_http()
            .with_http_client(Post::new(runtime))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(below(endpoint, "v1/traces"))
            .with_timeout(EXPORT_TIMEOUT)
            .build(),
    };
    built.map_err(|error| TelemetryError::Exporter(error.to_string()))
}

/// Sends metrics to the collector at `endpoint`.
///
/// Errors: as for [`spans`].
pub(crate) fn metrics(endpoint: &str, protocol: OtlpProtocol) -> Result<MetricExporter, TelemetryError> {
    let runtime = runtime()?;
    let builder = MetricExporter::builder();
    let built = match protocol {
        OtlpProtocol::Grpc => builder.with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build(),
        OtlpProtocol::Http => builder
            .with_http()
            .with_http_client(Post::new(runtime))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(below(endpoint, "v1/metrics"))
            .with_timeout(EXPORT_TIMEOUT)
            .build(),
    };
    built.map_err(|error| TelemetryError::Exporter(error.to_string()))
}

fn runtime() -> Result<Handle, TelemetryError> {
    Handle::try_current().map_err(|_| TelemetryError::NoRuntime)
}

/// A path below an endpoint, which may have one of its own.
fn below(endpoint: &str, path: &str) -> String {
    format!("{}/{path}", endpoint.trim_end_matches('/'))
}
