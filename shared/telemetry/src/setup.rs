//! The start and the end of a process's telemetry.

use std::io::IsTerminal;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Format, JsonFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{LogFormat, TelemetryConfig};
use crate::export::Reporting;
use crate::format::WithTrace;
use crate::metrics::Metrics;
use crate::otlp;

/// How long one export may take. A collector that is slower is as good as down, and the spans waiting behind it are
/// dropped rather than kept.
pub(crate) const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the end of a process may wait for the last spans and metrics.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Spans that may wait for export; further ones are dropped.
const QUEUED_SPANS: usize = 8192;

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A value of the configuration is wrong.
    #[error("telemetry.{key}: {problem}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The exporter could not be built.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(String),
    /// The exporter's connection needs a tokio runtime to live in.
    #[error("telemetry with an otlp_endpoint must be set up inside a tokio runtime")]
    NoRuntime,
    /// A subscriber was set before.
    #[error("telemetry was set up twice in this process")]
    Twice,
}

/// Keeps telemetry alive. The last spans and metrics are exported when it is dropped, within two seconds.
#[derive(Debug)]
#[must_use = "spans are exported only while the guard lives"]
pub struct Guard {
    provider: SdkTracerProvider,
    metrics: Metrics,
}

impl Guard {
    /// Exports what is waiting, then goes on. Blocks the thread, at most for the time of an export.
    pub fn flush(&self) {
        if let Err(error) = self.provider.force_flush() {
            tracing::debug!(%error, "spans were not exported");
        }
        self.metrics.flush();
    }

    /// The process's metrics, to be handed to whoever counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Side by side, since each may wait for the same collector; and the metrics' own limit is longer than ours.
        let (metrics, (told, ended)) = (self.metrics.clone(), mpsc::channel());
        let started = Instant::now();
        let exporting = std::thread::Builder::new().name("last-metrics".into()).spawn(move || {
            metrics.shutdown();
            // Nobody waits any more where this took too long.
            let _ = told.send(());
        });
        // A collector that is down is no reason to fail at the end, and there is nobody left to tell.
        let _ = self.provider.shutdown_with_timeout(FLUSH_TIMEOUT);
        if exporting.is_ok() {
            let _ = ended.recv_timeout(FLUSH_TIMEOUT.saturating_sub(started.elapsed()));
        }
    }
}

/// Sets up logs (on standard error) and traces for the whole process, and its metrics. Keep the guard until the end.
///
/// With an endpoint, call it inside a multi-threaded tokio runtime: the exporter's connection lives there.
///
/// Errors: a wrong configuration, no runtime, or a second call.
pub fn init(config: &TelemetryConfig) -> Result<Guard, TelemetryError> {
    if let Some((key, problem)) = config.violations().into_iter().next() {
        return Err(TelemetryError::Config { key, problem });
    }
    let provider = provider(config)?;
    subscriber(config, &provider, std::io::stderr).try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(Guard { provider, metrics: Metrics::new(config)? })
}

/// The subscriber that [`init`] makes global, for tests that bring their own spans' destination and log writer.
///
/// A filter that does not parse is replaced by `info`; [`init`] refuses it before.
pub fn subscriber<W>(
    config: &TelemetryConfig,
    provider: &SdkTracerProvider,
    writer: W,
) -> impl tracing::Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ansi = std::io::stderr().is_terminal();
    let logs: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Text => {
            let format = WithTrace::Text(Format::default().with_ansi(ansi));
            fmt::layer().event_format(format).with_ansi(ansi).with_writer(writer).boxed()
        }
        LogFormat::Json => {
            let format = WithTrace::Json(Format::default().json().flatten_event(true).with_span_list(false));
            fmt::layer().event_format(format).fmt_fields(JsonFields::new()).with_writer(writer).boxed()
        }
    };
    let filter = EnvFilter::try_new(&config.log_filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // Without a destination spans are still made: their ids are in the logs, and the next hop may have a collector.
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("unipic"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(logs.with_filter(filter)).with(spans)
}

/// What spans and metrics say of the process they come from.
pub(crate) fn resource(config: &TelemetryConfig) -> Resource {
    Resource::builder_empty()
        .with_service_name(config.service_name.clone())
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(opentelemetry::KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}

fn provider(config: &TelemetryConfig) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SdkTracerProvider::builder().with_resource(resource(config));
    let Some(endpoint) = &config.otlp_endpoint else {
        return Ok(builder.build());
    };
    let exporter = otlp::spans(endpoint, config.otlp_protocol)?;
    let batches =
        BatchConfigBuilder::default().with_max_queue_size(QUEUED_SPANS).with_scheduled_delay(Duration::from_secs(1));
    let processor = BatchSpanProcessor::builder(Reporting::new(exporter)).with_batch_config(batches.build()).build();
    Ok(builder.with_span_processor(processor).build())
}
