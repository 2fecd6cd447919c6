//! An engine's numbers in Prometheus text, after jobs of every ending.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use tracing::Span;
use unipic_engine::{Computed, Engine, EngineConfig, JobContext, JobError, Worker};
use unipic_engine_metrics::EngineMetrics;
use unipic_telemetry::{Metrics, TelemetryConfig};

/// Answers even numbers and fails odd ones.
struct Even;

impl Worker for Even {
    type Job = u32;
    type Reply = ();

    fn tokens(&self, _: &u32) -> usize {
        5
    }

    fn kind(&self, _: &u32) -> u32 {
        0
    }

    fn kind_name(&self, _: u32) -> &'static str {
        "even"
    }

    fn run(&mut self, jobs: Vec<u32>) -> Computed<u32, ()> {
        Ok(jobs.iter().map(|job| if job % 2 == 0 { Ok(()) } else { Err(JobError::new("odd")) }).collect())
    }
}

#[tokio::test]
async fn jobs_and_batches_are_counted() {
    let metrics = Metrics::new(&TelemetryConfig::for_service("test")).unwrap();
    let config = EngineConfig { name: "test".into(), queue_capacity: 4, max_batch_tokens: 64 };
    let observer = Arc::new(EngineMetrics::new(&metrics, &config.name));
    let engine = Engine::spawn_observed(config, observer).unwrap();
    let lane = engine.add_worker(Even);
    let context = JobContext { span: Span::none(), ..JobContext::current() };
    lane.submit(2, &context).await.unwrap();
    lane.submit(4, &context).await.unwrap();
    lane.submit(5, &context).await.unwrap_err();
    context.cancel.cancel();
    lane.submit(6, &context).await.unwrap_err();

    let text = metrics.render();
    for line in [
        "unipic_engine_jobs_total{engine=\"test\",outcome=\"answered\"} 2",
        "unipic_engine_jobs_total{engine=\"test\",outcome=\"fault\"} 1",
        "unipic_engine_jobs_total{engine=\"test\",outcome=\"cancelled\"} 1",
        "unipic_engine_jobs_total{engine=\"test\",outcome=\"full\"} 0",
        "unipic_engine_jobs_queued{engine=\"test\"} 0",
        "unipic_engine_job_wait_seconds_count{engine=\"test\",kind=\"even\"} 3",
        "unipic_engine_batch_duration_seconds_count{engine=\"test\",kind=\"even\"} 3",
        "unipic_engine_batch_jobs_sum{engine=\"test\",kind=\"even\"} 3",
        "unipic_engine_batch_tokens_sum{engine=\"test\",kind=\"even\"} 15",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
}
