//! What the service counts: iterations, where the time goes, bytes moved and held, and sessions lost.

use std::sync::Arc;
use std::time::Duration;

use unipic_engine_metrics::{DeviceMemory, Held};
use unipic_telemetry::Metrics;
use unipic_telemetry::metrics::{Counter, Histogram, KeyValue, Level, Raised, RetryMetrics};

use crate::device::Info;
use crate::event::Timings;
use crate::language::Traffic;

/// The hop between this service and the language model.
const HOP: &str = "synthesis_decoder";

/// The service's own metrics.
#[derive(Clone, Debug)]
pub(crate) struct SynthesisMetrics {
    running: Level,
    iterations: Counter<u64>,
    iteration: Histogram<f64>,
    stage: Histogram<f64>,
    sent: Counter<u64>,
    received: Counter<u64>,
    /// Steps repeated after the language model was lost.
    pub(crate) retries: RetryMetrics,
    /// Counts the weights.
    _held: Arc<Raised>,
}

impl SynthesisMetrics {
    pub(crate) fn new(metrics: &Metrics, info: &Info) -> Self {
        let memory = DeviceMemory::new(metrics, &info.device, &[Held::Weights]);
        let counted = Self {
            _held: Arc::new(memory.holds(Held::Weights, info.weight_bytes)),
            running: metrics.level("unipic.syntheses_running", "Generations whose loop is under way."),
            iterations: metrics.counter("unipic.iterations", "Iterations of generation loops that were finished."),
            iteration: metrics.seconds("unipic.iteration.duration", "One iteration, waiting for the device included."),
            stage: metrics.seconds("unipic.synthesis.stage", "Time of a finished generation, by where it went."),
            sent: metrics.bytes("unipic.hop.sent", "Bytes of tensors that the caller of a hop sent."),
            received: metrics.bytes("unipic.hop.received", "Bytes of tensors that the caller of a hop received."),
            retries: RetryMetrics::new(metrics, "synthesis", &["decoder"]),
        };
        counted.running.add(0, &[]);
        counted.iterations.add(0, &[]);
        counted.moved(Traffic::default());
        counted
    }

    /// A generation is under way until the guard is dropped.
    pub(crate) fn running(&self) -> Raised {
        self.running.raise(&[])
    }

    /// An iteration was finished.
    pub(crate) fn iterated(&self, took: Duration) {
        self.iterations.add(1, &[]);
        self.iteration.record(took.as_secs_f64(), &[]);
    }

    /// So much more was moved.
    pub(crate) fn moved(&self, traffic: Traffic) {
        let hop = [KeyValue::new("hop", HOP)];
        self.sent.add(traffic.sent, &hop);
        self.received.add(traffic.received, &hop);
    }

    /// A generation is finished.
    pub(crate) fn finished(&self, timings: &Timings) {
        for (stage, took) in [
            ("queue", timings.queue),
            ("source", timings.source),
            ("prefill", timings.prefill),
            ("mar", timings.mar),
            ("probe", timings.probe),
            ("head", timings.head),
            ("vae", timings.vae),
        ] {
            self.stage.record(took.as_secs_f64(), &[KeyValue::new("stage", stage)]);
        }
    }
}
