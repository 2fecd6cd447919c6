//! Pushing metrics to an OTLP collector.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};

use crate::config::TelemetryConfig;
use crate::otlp;
use crate::setup::TelemetryError;

/// A reader that exports every so many seconds.
///
/// Errors: the exporter cannot be built, or there is no tokio runtime for its connection.
pub(super) fn reader(endpoint: &str, config: &TelemetryConfig) -> Result<PeriodicReader<Reporting>, TelemetryError> {
    let exporter = otlp::metrics(endpoint, config.otlp_protocol)?;
    let exporter = Reporting { exporter, is_failing: AtomicBool::new(false) };
    Ok(PeriodicReader::builder(exporter).with_interval(Duration::from_secs(config.metrics_seconds)).build())
}

/// An exporter that logs when export begins to fail and when it works again.
#[derive(Debug)]
pub(super) struct Reporting {
    exporter: MetricExporter,
    is_failing: AtomicBool,
}

impl PushMetricExporter for Reporting {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match (&result, was_failing) {
            (Err(error), false) => tracing::warn!(%error, "metrics cannot be exported"),
            (Ok(()), true) => tracing::info!("metrics are exported again"),
            _ => {}
        }
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
