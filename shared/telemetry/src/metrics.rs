//! The metrics of a process: made once, handed to whoever counts, read as Prometheus text and pushed over OTLP.
//!
//! A [`Metrics`] is passed in, never global: two services in one test count apart, and a component that was given none
//! counts into [`Metrics::default`], which keeps nothing. Instruments are OpenTelemetry's. Both ways out read the same
//! instruments through the SDK's readers, so they cannot disagree; recording never waits for either.
//!
//! Names are written with dots and without units (`unipic.request.duration`, unit `s`); in Prometheus text they become
//! `unipic_request_duration_seconds`, and counters end in `_total`. Labels are words from closed lists: no prompt, no
//! address, no id. A collector that is down costs a thread of its own an export that fails, and nobody else anything.

mod export;
mod level;
mod process;
mod requests;
mod retries;

use std::sync::Arc;

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

pub use level::{Level, Raised};
pub use opentelemetry::KeyValue;
pub use opentelemetry::metrics::{Counter, Histogram};
pub(crate) use requests::RunningRequest;
pub use requests::{RequestMetrics, code_name};
pub use retries::RetryMetrics;

use crate::config::TelemetryConfig;
use crate::setup::TelemetryError;
use process::Build;

/// `Content-Type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Bounds of durations in seconds: from a step of the smallest model (a millisecond) to an image of the largest one on two
/// cores (minutes), two to four bounds in each decade.
const SECONDS: [f64; 18] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];

/// Bounds of numbers of things in a batch: jobs and tokens.
const SIZES: [f64; 15] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0];

/// The metrics of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    provider: SdkMeterProvider,
    meter: Meter,
    registry: Registry,
    build: Arc<Build>,
}

impl Default for Metrics {
    /// Metrics that nobody reads and that keep nothing.
    fn default() -> Self {
        Self::over(
            SdkMeterProvider::builder().with_resource(Resource::builder_empty().build()).build(),
            Registry::new(),
        )
    }
}

impl Metrics {
    /// Metrics of a service that [`Metrics::render`] reads, and an OTLP collector where the configuration names one.
    ///
    /// Errors: an exporter that cannot be built; with an endpoint, no tokio runtime to live in.
    pub fn new(config: &TelemetryConfig) -> Result<Self, TelemetryError> {
        let registry = Registry::new();
        let text = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
        let builder = SdkMeterProvider::builder().with_resource(crate::setup::resource(config)).with_reader(text);
        let builder = match &config.otlp_endpoint {
            Some(endpoint) => builder.with_reader(export::reader(endpoint, config)?),
            None => builder,
        };
        let metrics = Self::over(builder.build(), registry);
        process::observe(&metrics);
        Ok(metrics)
    }

    fn over(provider: SdkMeterProvider, registry: Registry) -> Self {
        let meter = provider.meter("unipic");
        Self { provider, meter, registry, build: Arc::default() }
    }

    /// All metrics as Prometheus text (format 0.0.4), for `GET /metrics`. Empty for [`Metrics::default`].
    pub fn render(&self) -> String {
        // Names are checked when instruments are made, so only a broken formatter could fail, and there is none.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// Tells which weights are served: the hash in `unipic_build_info`.
    pub fn set_weights(&self, sha256: &str) {
        self.build.set_weights(sha256);
    }

    /// A number of things that happened. `name` with dots and without `total`.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter<u64> {
        self.meter.u64_counter(name).with_description(help).build()
    }

    /// A number of bytes that were moved.
    pub fn bytes(&self, name: &'static str, help: &'static str) -> Counter<u64> {
        self.meter.u64_counter(name).with_description(help).with_unit("By").build()
    }

    /// Durations in seconds.
    pub fn seconds(&self, name: &'static str, help: &'static str) -> Histogram<f64> {
        let boundaries = SECONDS.to_vec();
        self.meter.f64_histogram(name).with_description(help).with_unit("s").with_boundaries(boundaries).build()
    }

    /// Numbers of things in something, such as jobs in a batch.
    pub fn sizes(&self, name: &'static str, help: &'static str) -> Histogram<u64> {
        self.meter.u64_histogram(name).with_description(help).with_boundaries(SIZES.to_vec()).build()
    }

    /// A number of things that are there now.
    pub fn level(&self, name: &'static str, help: &'static str) -> Level {
        Level::new(self.meter.i64_up_down_counter(name).with_description(help).build())
    }

    /// Numbers of things that are counted when somebody reads them: each with its labels. `look` must not wait.
    pub fn looked_up<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        look: impl Fn() -> Vec<(u64, [KeyValue; N])> + Send + Sync + 'static,
    ) {
        let gauge = self.meter.u64_observable_gauge(name).with_description(help);
        // It lives as long as the meter; the handle only names it.
        let _ = gauge.with_callback(move |told| look().iter().for_each(|(n, labels)| told.observe(*n, labels))).build();
    }

    /// A number of bytes that are held now.
    pub fn byte_level(&self, name: &'static str, help: &'static str) -> Level {
        Level::new(self.meter.i64_up_down_counter(name).with_description(help).with_unit("By").build())
    }

    /// Exports what was counted, then goes on. Blocks the thread, at most for the time of an export.
    pub(crate) fn flush(&self) {
        if let Err(error) = self.provider.force_flush() {
            tracing::debug!(%error, "metrics were not exported");
        }
    }

    /// Exports once more and ends the export. Blocks the thread, at most for the time of an export.
    pub(crate) fn shutdown(&self) {
        // A collector that is down is no reason to fail at the end, and there is nobody left to tell.
        let _ = self.provider.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new(&TelemetryConfig::for_service("test")).unwrap()
    }

    #[test]
    fn names_carry_units_and_counters_say_total() {
        let metrics = metrics();
        metrics.counter("unipic.thing", "Things.").add(2, &[KeyValue::new("kind", "a")]);
        metrics.bytes("unipic.moved", "Bytes.").add(7, &[]);
        metrics.seconds("unipic.wait", "Waits.").record(0.03, &[]);
        metrics.sizes("unipic.batch.jobs", "Jobs.").record(3, &[]);
        let text = metrics.render();
        for line in [
            "# TYPE unipic_thing_total counter",
            "unipic_thing_total{kind=\"a\"} 2",
            "unipic_moved_bytes_total 7",
            "unipic_wait_seconds_bucket{le=\"0.025\"} 0",
            "unipic_wait_seconds_bucket{le=\"0.05\"} 1",
            "unipic_wait_seconds_count 1",
            "unipic_batch_jobs_bucket{le=\"4\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn the_process_tells_what_it_is_and_what_it_holds() {
        let metrics = metrics();
        let version = env!("CARGO_PKG_VERSION");
        assert!(!metrics.render().contains("unipic_build_info"), "no hash is known yet");
        metrics.set_weights("abc");
        let text = metrics.render();
        assert!(
            text.contains(&format!("unipic_build_info{{version=\"{version}\",weights_sha256=\"abc\"}} 1")),
            "{text}"
        );
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("unipic_process_resident_memory_bytes") > 1e6);
        assert!(value("unipic_process_open_fds") >= 3.0);
        assert!(value("unipic_process_start_time_seconds") > 1.7e9);
    }

    #[test]
    fn metrics_of_nobody_keep_nothing() {
        let metrics = Metrics::default();
        metrics.counter("unipic.thing", "Things.").add(1, &[]);
        assert_eq!(metrics.render(), "");
    }

    #[test]
    fn two_parts_that_make_the_same_instrument_share_it() {
        let metrics = metrics();
        metrics.counter("unipic.thing", "Things.").add(1, &[]);
        metrics.counter("unipic.thing", "Things.").add(1, &[]);
        assert!(metrics.render().contains("unipic_thing_total 2"), "{}", metrics.render());
    }
}
