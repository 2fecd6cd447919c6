//! What the service counts: the loop, the bytes moved, and sessions that were lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use futures::StreamExt;
use support::decoder::FakeDecoder;
use support::{Direct, events, service, settings, spec};
use unipic_engine::JobContext;
use unipic_synthesis::SynthesisEvent;
use unipic_synthesis::remote::RemoteDecoder;
use unipic_telemetry::{Metrics, TelemetryConfig};

fn metrics() -> Metrics {
    Metrics::new(&TelemetryConfig::for_service("test")).unwrap()
}

/// The value of the sample that begins so.
fn value(metrics: &Metrics, sample: &str) -> f64 {
    let text = metrics.render();
    let line = text.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("{sample} is not in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_counts_its_iterations_its_time_and_its_bytes() {
    let (endpoint, _) = FakeDecoder::start(Direct::load(&[]).unwrap(), usize::MAX).await.unwrap();
    let metrics = metrics();
    let far = service(RemoteDecoder::new(&[endpoint.parse().unwrap()]).unwrap()).unwrap().counted(&metrics);
    assert_eq!(value(&metrics, "unipic_iterations_total"), 0.0);
    let told = events(&far, spec("a red circle", settings(7))).await.unwrap();
    let Some(SynthesisEvent::Done(timings)) = told.last() else { panic!("no timings") };
    assert_eq!(value(&metrics, "unipic_iterations_total"), 4.0);
    assert_eq!(value(&metrics, "unipic_iteration_duration_seconds_count"), 4.0);
    let hop =
        |direction: &str| value(&metrics, &format!("unipic_hop_{direction}_bytes_total{{hop=\"synthesis_decoder\"}}"));
    assert_eq!((hop("sent"), hop("received")), (timings.traffic.sent as f64, timings.traffic.received as f64));
    let head = value(&metrics, "unipic_synthesis_stage_seconds_sum{stage=\"head\"}");
    assert!((head - timings.head.as_secs_f64()).abs() < 1e-6, "{head} and {:?}", timings.head);
    assert_eq!(value(&metrics, "unipic_syntheses_running"), 0.0);
    assert_eq!(value(&metrics, "unipic_retries_total{backend=\"decoder\",caller=\"synthesis\"}"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_break_are_retries_and_those_made_good_failovers() {
    let metrics = metrics();
    // The second and the fourth probe are lost, each once.
    let near = service(Direct::load(&[1, 4]).unwrap()).unwrap().counted(&metrics);
    events(&near, spec("a red circle", settings(7))).await.unwrap();
    let of = |name: &str| value(&metrics, &format!("unipic_{name}_total{{backend=\"decoder\",caller=\"synthesis\"}}"));
    assert_eq!((of("retries"), of("failovers")), (2.0, 2.0));
    let gone = service(RemoteDecoder::new(&["http://127.0.0.1:9".parse().unwrap()]).unwrap()).unwrap();
    let failover = unipic_client::RetryPolicy { patience_seconds: 0.5, ..Default::default() };
    events(&gone.counted(&metrics).with_failover(&failover), spec("a", settings(1))).await.unwrap_err();
    assert_eq!(of("failovers"), 2.0, "what was lost for good is no failover");
    assert!(of("retries") > 2.0);
}

#[tokio::test]
async fn a_generation_that_is_dropped_runs_no_longer() {
    let metrics = metrics();
    let near = service(Direct::load(&[]).unwrap()).unwrap().counted(&metrics);
    let mut stream = near.synthesize(spec("a red circle", settings(7)), JobContext::current()).unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(value(&metrics, "unipic_syntheses_running"), 1.0);
    drop(stream);
    assert_eq!(value(&metrics, "unipic_syntheses_running"), 0.0);
    assert!(!metrics.render().contains("unipic_synthesis_stage_seconds_count"), "only finished ones tell their stages");
}
