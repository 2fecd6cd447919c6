//! What the service counts: sessions and answers that are open, the memory that they, kept prompts and the weights hold, and
//! how often a kept prompt is of use.

use std::sync::Arc;

use unipic_engine_metrics::{DeviceMemory, Held};
use unipic_telemetry::Metrics;
use unipic_telemetry::metrics::{Counter, KeyValue, Level, Raised};

/// The service's own metrics.
#[derive(Clone, Debug)]
pub(crate) struct DecoderMetrics {
    sessions: Level,
    answers: Level,
    prefix_lookups: Counter<u64>,
    prefix_positions: Counter<u64>,
    memory: DeviceMemory,
    /// Counts the weights.
    _held: Arc<Raised>,
}

impl DecoderMetrics {
    /// Counters of a model of `weight_bytes` on `device`.
    pub(crate) fn new(metrics: &Metrics, device: &str, weight_bytes: u64) -> Self {
        let kinds = [Held::Weights, Held::Sessions, Held::Answers, Held::Prefixes];
        let memory = DeviceMemory::new(metrics, device, &kinds);
        let counted = Self {
            sessions: metrics.level("unipic.decoder.sessions_open", "Sessions whose prompts are kept."),
            answers: metrics.level("unipic.decoder.answers_open", "Answers that are being decoded or weighed."),
            prefix_lookups: metrics.counter(
                "unipic.decoder.prefix_cache.lookups",
                "Prompts looked up among the beginnings that were computed before.",
            ),
            prefix_positions: metrics.counter(
                "unipic.decoder.prefix_cache.positions",
                "Positions of prompts that were taken from there and not computed.",
            ),
            _held: Arc::new(memory.holds(Held::Weights, weight_bytes)),
            memory,
        };
        for level in [&counted.sessions, &counted.answers] {
            level.add(0, &[]);
        }
        for scope in [true, false].map(scope) {
            counted.prefix_positions.add(0, std::slice::from_ref(&scope));
            for outcome in ["hit", "miss"] {
                counted.prefix_lookups.add(0, &[scope.clone(), KeyValue::new("outcome", outcome)]);
            }
        }
        counted
    }

    /// A session of so many bytes is open until the guards are dropped.
    pub(crate) fn session(&self, cache_bytes: usize) -> (Raised, Raised) {
        (self.sessions.raise(&[]), self.memory.holds(Held::Sessions, cache_bytes as u64))
    }

    /// A prompt was looked up, everybody's or a tenant's, and so many of its positions were there.
    pub(crate) fn looked_up(&self, is_everyones: bool, positions: usize) {
        let (scope, outcome) = (scope(is_everyones), if positions > 0 { "hit" } else { "miss" });
        self.prefix_positions.add(positions as u64, std::slice::from_ref(&scope));
        self.prefix_lookups.add(1, &[scope, KeyValue::new("outcome", outcome)]);
    }

    /// So many bytes more of prompts are kept, until the guard is dropped.
    pub(crate) fn held(&self, bytes: u64) -> Raised {
        self.memory.holds(Held::Prefixes, bytes)
    }

    /// An answer is being decoded or weighed until the guards are dropped, the second of which counts its keys and values.
    pub(crate) fn answer(&self) -> (Raised, Raised) {
        (self.answers.raise(&[]), self.memory.holds(Held::Answers, 0))
    }
}

fn scope(is_everyones: bool) -> KeyValue {
    KeyValue::new("scope", if is_everyones { "everyone" } else { "tenant" })
}
