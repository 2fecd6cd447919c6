//! What the service counts: sessions and answers that are open, and the memory that sessions hold.

use unipic_telemetry::Metrics;
use unipic_telemetry::metrics::{Level, Raised};

/// The service's own metrics.
#[derive(Clone, Debug)]
pub(crate) struct DecoderMetrics {
    sessions: Level,
    cache_bytes: Level,
    answers: Level,
}

impl DecoderMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let help = "Keys and values of open sessions; what a session's prompts share counts once.";
        let counted = Self {
            sessions: metrics.level("unipic.decoder.sessions_open", "Sessions whose prompts are kept."),
            cache_bytes: metrics.byte_level("unipic.decoder.session_cache", help),
            answers: metrics.level("unipic.decoder.answers_open", "Answers that are being decoded or weighed."),
        };
        for level in [&counted.sessions, &counted.cache_bytes, &counted.answers] {
            level.add(0, &[]);
        }
        counted
    }

    /// A session of so many bytes is open until the guards are dropped.
    pub(crate) fn session(&self, cache_bytes: usize) -> (Raised, Raised) {
        (self.sessions.raise(&[]), self.cache_bytes.raise_by(cache_bytes as u64, &[]))
    }

    /// An answer is being decoded or weighed until the guard is dropped.
    pub(crate) fn answer(&self) -> Raised {
        self.answers.raise(&[])
    }
}
