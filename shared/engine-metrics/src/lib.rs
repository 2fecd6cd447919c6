//! An engine's observer that counts into a process's metrics, and the memory that is held on its device.
//!
//! A crate of its own because neither side may know the other: the engine is generic, telemetry imports nothing of ours,
//! and four services would otherwise each carry a copy of this.

mod memory;

pub use memory::{DeviceMemory, Held};

use unipic_engine::{BatchReport, Observer, Outcome};
use unipic_telemetry::Metrics;
use unipic_telemetry::metrics::{Counter, Histogram, KeyValue, Level};

/// Counts the jobs and batches of one engine.
#[derive(Debug)]
pub struct EngineMetrics {
    engine: KeyValue,
    jobs: Counter<u64>,
    queued: Level,
    wait: Histogram<f64>,
    batch_duration: Histogram<f64>,
    batch_jobs: Histogram<u64>,
    batch_tokens: Histogram<u64>,
}

impl EngineMetrics {
    /// Counters of the engine of this name, at zero.
    pub fn new(metrics: &Metrics, engine: &str) -> Self {
        let counted = Self {
            engine: KeyValue::new("engine", engine.to_owned()),
            jobs: metrics.counter("unipic.engine.jobs", "Jobs that ended, by how they ended."),
            queued: metrics.level("unipic.engine.jobs_queued", "Jobs that wait for the device."),
            wait: metrics.seconds("unipic.engine.job.wait", "Time that a computed job had waited for the device."),
            batch_duration: metrics.seconds("unipic.engine.batch.duration", "Time that a batch took on the device."),
            batch_jobs: metrics.sizes("unipic.engine.batch.jobs", "Jobs that shared a batch."),
            batch_tokens: metrics
                .sizes("unipic.engine.batch.tokens", "Tokens of a batch; none for jobs that run alone."),
        };
        counted.queued.add(0, std::slice::from_ref(&counted.engine));
        for outcome in ALL {
            counted.jobs.add(0, &counted.ended(outcome));
        }
        counted
    }

    fn ended(&self, outcome: Outcome) -> [KeyValue; 2] {
        [self.engine.clone(), KeyValue::new("outcome", name(outcome))]
    }
}

impl Observer for EngineMetrics {
    fn job_queued(&self) {
        self.queued.add(1, std::slice::from_ref(&self.engine));
    }

    fn job_left_queue(&self) {
        self.queued.add(-1, std::slice::from_ref(&self.engine));
    }

    fn job_ended(&self, outcome: Outcome) {
        self.jobs.add(1, &self.ended(outcome));
    }

    fn batch_ran(&self, batch: &BatchReport<'_>) {
        let labels = [self.engine.clone(), KeyValue::new("kind", batch.kind)];
        for queued in batch.queued {
            self.wait.record(queued.as_secs_f64(), &labels);
        }
        self.batch_duration.record(batch.ran.as_secs_f64(), &labels);
        self.batch_jobs.record(batch.queued.len() as u64, &labels);
        if let Some(tokens) = batch.tokens {
            self.batch_tokens.record(tokens as u64, &labels);
        }
    }
}

/// Every way to end, so that all are shown from the start.
const ALL: [Outcome; 7] = [
    Outcome::Answered,
    Outcome::Fault,
    Outcome::Exhausted,
    Outcome::Full,
    Outcome::Cancelled,
    Outcome::DeadlineExceeded,
    Outcome::Closed,
];

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::Fault => "fault",
        Outcome::Exhausted => "exhausted",
        Outcome::Full => "full",
        Outcome::Cancelled => "cancelled",
        Outcome::DeadlineExceeded => "deadline_exceeded",
        Outcome::Closed => "closed",
    }
}
