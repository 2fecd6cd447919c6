//! The two ways out tell the same: what a collector is sent is what Prometheus text says.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};
use tokio_stream::wrappers::TcpListenerStream;
use unipic_telemetry::metrics::KeyValue;
use unipic_telemetry::{TelemetryConfig, init};

/// Keeps the last value of every metric: a number, or a histogram's count and sum.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<BTreeMap<String, (String, f64)>>>);

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let scopes = request.into_inner().resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            if let Some(value) = value(&metric) {
                self.0.lock().unwrap().insert(metric.name.clone(), (metric.unit.clone(), value));
            }
        }
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn value(metric: &Metric) -> Option<f64> {
    let number = |points: &[NumberDataPoint]| match points.first()?.value? {
        Value::AsDouble(value) => Some(value),
        Value::AsInt(value) => Some(value as f64),
    };
    match metric.data.as_ref()? {
        Data::Sum(sum) => number(&sum.data_points),
        Data::Gauge(gauge) => number(&gauge.data_points),
        Data::Histogram(histogram) => histogram.data_points.first()?.sum,
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_out_tell_the_same() {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(MetricsServiceServer::new(collector.clone()));
    let collecting = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    // The last export is the one at the end, whatever the interval.
    let config =
        TelemetryConfig { otlp_endpoint: Some(endpoint), metrics_seconds: 3600, ..TelemetryConfig::for_service("x") };
    let telemetry = init(&config).unwrap();
    let metrics = telemetry.metrics().clone();
    // Before the weights are known nothing is told of the build, not even an empty hash that would linger.
    assert!(!metrics.render().contains("unipic_build_info"));
    metrics.set_weights("abc");
    metrics.counter("unipic.things", "Things.").add(3, &[KeyValue::new("kind", "a")]);
    metrics.seconds("unipic.wait", "Waits.").record(1.5, &[]);
    let held = metrics.byte_level("unipic.held", "Held.").raise_by(4096, &[]);
    let text = metrics.render();
    tokio::task::spawn_blocking(move || drop(telemetry)).await.unwrap();
    drop(held);
    collecting.abort();

    let pushed = collector.0.lock().unwrap().clone();
    for (name, unit, value, line) in [
        ("unipic.things", "", 3.0, "unipic_things_total{kind=\"a\"} 3"),
        ("unipic.wait", "s", 1.5, "unipic_wait_seconds_sum 1.5"),
        ("unipic.held", "By", 4096.0, "unipic_held_bytes 4096"),
        ("unipic.build_info", "", 1.0, "unipic_build_info{version=\"0.1.0\",weights_sha256=\"abc\"} 1"),
    ] {
        assert_eq!(pushed.get(name), Some(&(unit.to_owned(), value)), "{name} among {pushed:?}");
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    for name in ["unipic.process.resident_memory", "unipic.process.open_fds", "unipic.process.start_time"] {
        assert!(pushed.contains_key(name), "{name} among {pushed:?}");
    }
}
