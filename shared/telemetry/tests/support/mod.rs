//! A collector that never answers.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use unipic_telemetry::metrics::KeyValue;
use unipic_telemetry::{Guard, OtlpProtocol, TelemetryConfig, TelemetryError, init};

/// Holds that such a collector costs a request nothing, and the end of the process two seconds. Once in a process, since
/// telemetry is set up once.
pub(crate) fn a_dead_collector_holds_nobody_up(otlp_protocol: OtlpProtocol) {
    // Accepts connections into its backlog and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let otlp_endpoint = Some(format!("http://{}", silent.local_addr().unwrap()));
    let config =
        TelemetryConfig { otlp_endpoint, otlp_protocol, metrics_seconds: 1, ..TelemetryConfig::for_service("test") };
    assert!(matches!(init(&config), Err(TelemetryError::NoRuntime)));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let guard = init(&config).unwrap();
    assert!(matches!(init(&config), Err(TelemetryError::Twice)));
    spans_and_counts_are_free(&guard);
    let start = Instant::now();
    drop(guard);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "the end took {took:?}");
}

fn spans_and_counts_are_free(guard: &Guard) {
    let start = Instant::now();
    for request in 0..20_000 {
        let _span = tracing::info_span!("request", request).entered();
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "20000 spans took {took:?}");
    let requests = guard.metrics().counter("unipic.requests", "Requests.");
    // Past the beginning of the first export, so that one is stuck at the collector while the rest is counted.
    std::thread::sleep(Duration::from_millis(1500));
    let start = Instant::now();
    for _ in 0..100_000 {
        requests.add(1, &[KeyValue::new("code", "OK")]);
    }
    let text = guard.metrics().render();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "counting to 100000 and one look took {took:?}");
    assert!(text.contains("unipic_requests_total{code=\"OK\"} 100000"), "{text}");
}
