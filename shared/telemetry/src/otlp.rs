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
    let builder = SpanExporter::builder();
    let built = match protocol {
        OtlpProtocol::Grpc => over_grpc(builder.with_tonic(), endpoint)?.build(),
        OtlpProtocol::Http => over_http(builder.with_http(), endpoint, "v1/traces")?.build(),
    };
    built.map_err(|error| TelemetryError::Exporter(error.to_string()))
}

/// Sends metrics to the collector at `endpoint`.
///
/// Errors: as for [`spans`].
pub(crate) fn metrics(endpoint: &str, protocol: OtlpProtocol) -> Result<MetricExporter, TelemetryError> {
    let builder = MetricExporter::builder();
    let built = match protocol {
        OtlpProtocol::Grpc => over_grpc(builder.with_tonic(), endpoint)?.build(),
        OtlpProtocol::Http => over_http(builder.with_http(), endpoint, "v1/metrics")?.build(),
    };
    built.map_err(|error| TelemetryError::Exporter(error.to_string()))
}

/// The gRPC client needs a runtime too, and panics where there is none.
fn over_grpc<B: WithExportConfig>(builder: B, endpoint: &str) -> Result<B, TelemetryError> {
    runtime()?;
    Ok(builder.with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT))
}

fn over_http<B: WithExportConfig + WithHttpConfig>(
    builder: B,
    endpoint: &str,
    path: &str,
) -> Result<B, TelemetryError> {
    let builder = builder.with_http_client(Post::new(runtime()?)).with_protocol(Protocol::HttpBinary);
    Ok(builder.with_endpoint(below(endpoint, path)).with_timeout(EXPORT_TIMEOUT))
}

fn runtime() -> Result<Handle, TelemetryError> {
    Handle::try_current().map_err(|_| TelemetryError::NoRuntime)
}

/// A path below an endpoint, which may have one of its own.
fn below(endpoint: &str, path: &str) -> String {
    format!("{}/{path}", endpoint.trim_end_matches('/'))
}
