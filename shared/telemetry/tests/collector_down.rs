//! A collector that is down or never answers costs a request nothing, and the end of the process two seconds.

use std::time::{Duration, Instant};

use unipic_telemetry::{TelemetryConfig, TelemetryError, init};

#[test]
fn a_dead_collector_holds_nobody_up() {
    // Accepts connections into its backlog and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let config = TelemetryConfig { otlp_endpoint: Some(endpoint), ..TelemetryConfig::for_service("test") };
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
    let start = Instant::now();
    drop(guard);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "the end took {took:?}");
}
