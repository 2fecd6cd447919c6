//! Work that was tried again because a service behind was lost.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;

use super::Metrics;

/// Counts retries and what came of them, by caller and backend.
#[derive(Clone, Debug)]
pub struct RetryMetrics {
    caller: &'static str,
    retries: Counter<u64>,
    failovers: Counter<u64>,
}

impl RetryMetrics {
    /// Counters of `caller` for calls to `backends`, all at zero.
    pub fn new(metrics: &Metrics, caller: &'static str, backends: &[&'static str]) -> Self {
        let counted = Self {
            caller,
            retries: metrics.counter("unipic.retries", "Attempts made again after a backend was lost or had no room."),
            failovers: metrics.counter("unipic.failovers", "Work that ended well after at least one retry."),
        };
        for backend in backends {
            counted.retries.add(0, &counted.labels(backend));
            counted.failovers.add(0, &counted.labels(backend));
        }
        counted
    }

    /// The work is tried once more.
    pub fn retried(&self, backend: &'static str) {
        self.retries.add(1, &self.labels(backend));
    }

    /// The work ended well, though not at the first attempt.
    pub fn failed_over(&self, backend: &'static str) {
        self.failovers.add(1, &self.labels(backend));
    }

    fn labels(&self, backend: &'static str) -> [KeyValue; 2] {
        [KeyValue::new("caller", self.caller), KeyValue::new("backend", backend)]
    }
}
