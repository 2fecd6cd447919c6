//! A collector that is down or never answers costs a request nothing, and the end of the process two seconds.

use std::time::{Duration, Instant};

use unipic_telemetry::metrics::KeyValue;
use unipic_telemetry::{TelemetryConfig, TelemetryError, init};

#[test]
fn a_dead_collector_holds_nobody_up() {
    // Accepts connections into its backlog and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let config =
        TelemetryConfig { otlp_endpoint: Some(endpoint), metrics_seconds: 1, ..TelemetryConfig::for_service("test") };
    assert!(matches!(init(&config), Err(TelemetryError::NoRuntime)));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let guard = init(&config).unwrap();
    assert!(matches!(init(&config), Err(TelemetryError::Twice)));
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
    let start = Instant::now();
    drop(guard);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "the end took {took:?}");
}
