//! What the gateway counts: waiting and running requests, images, answers, and work that was tried again.

use std::time::Duration;

use unipic_telemetry::Metrics;
use unipic_telemetry::metrics::{Counter, Histogram, KeyValue, Level, Raised, RequestMetrics, RetryMetrics};

/// The gateway's own metrics; requests by method and code are counted by the server around it.
#[derive(Clone, Debug)]
pub(crate) struct GatewayMetrics {
    pub(crate) admission: AdmissionMetrics,
    pub(crate) cache: CacheMetrics,
    /// Work repeated after a backend was lost.
    pub(crate) retries: RetryMetrics,
    image: Histogram<f64>,
    first_token: Histogram<f64>,
    tokens: Counter<u64>,
    process: Metrics,
}

impl GatewayMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counted = Self {
            admission: AdmissionMetrics::new(metrics),
            cache: CacheMetrics::new(metrics),
            retries: RetryMetrics::new(metrics, "gateway", &["understanding", "synthesis", "decoder"]),
            image: metrics
                .seconds("unipic.image", "Time per finished image: a request's, from its turn on, over its images."),
            first_token: metrics.seconds("unipic.first_token", "From an understand request to its first token."),
            tokens: metrics.counter("unipic.answer.tokens", "Tokens of finished answers and of their prompts."),
            process: metrics.clone(),
        };
        for kind in ["prompt", "completion"] {
            counted.tokens.add(0, &[KeyValue::new("kind", kind)]);
        }
        counted
    }

    /// Counters of requests to these routes of the HTTP API.
    pub(crate) fn web(&self, routes: &[&'static str]) -> RequestMetrics {
        RequestMetrics::of_routes(&self.process, routes)
    }

    /// The hash of what is served.
    pub(crate) fn serving(&self, weights_sha256: &str) {
        self.process.set_weights(weights_sha256);
    }

    /// A request's images are finished, `took` after it had its turn.
    pub(crate) fn images_made(&self, task: &'static str, n: u32, took: Duration) {
        let each = took.as_secs_f64() / f64::from(n.max(1));
        for _ in 0..n {
            self.image.record(each, &[KeyValue::new("task", task)]);
        }
    }

    /// An answer is finished. One of no tokens only weighed candidates, and has no first token.
    pub(crate) fn answered(&self, first_token_ms: f64, prompt_tokens: u32, completion_tokens: u32) {
        if completion_tokens > 0 {
            self.first_token.record(first_token_ms / 1e3, &[]);
        }
        for (kind, n) in [("prompt", prompt_tokens), ("completion", completion_tokens)] {
            self.tokens.add(u64::from(n), &[KeyValue::new("kind", kind)]);
        }
    }
}

/// What the cache of encoded images counts.
#[derive(Clone, Debug)]
pub(crate) struct CacheMetrics {
    lookups: Counter<u64>,
    bytes: Level,
}

impl CacheMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counted = Self {
            lookups: metrics.counter("unipic.encoded_cache.lookups", "Images looked up among those encoded before."),
            bytes: metrics.byte_level("unipic.encoded_cache", "Embeddings that are kept."),
        };
        counted.bytes.add(0, &[]);
        for outcome in ["hit", "miss"] {
            counted.lookups.add(0, &[KeyValue::new("outcome", outcome)]);
        }
        counted
    }

    /// An image was looked up.
    pub(crate) fn looked_up(&self, found: bool) {
        self.lookups.add(1, &[KeyValue::new("outcome", if found { "hit" } else { "miss" })]);
    }

    /// So many bytes more are kept, until the guard is dropped.
    pub(crate) fn held(&self, bytes: u64) -> Raised {
        self.bytes.raise_by(bytes, &[])
    }
}

/// What the gate counts.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionMetrics {
    queued: Level,
    running: Level,
    wait: Histogram<f64>,
}

impl AdmissionMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counted = Self {
            queued: metrics.level("unipic.admission.queued", "Requests that wait for their turn."),
            running: metrics.level("unipic.admission.running", "Requests that have their turn."),
            wait: metrics.seconds("unipic.admission.wait", "How long requests waited for their turn."),
        };
        counted.queued.add(0, &[]);
        counted.running.add(0, &[]);
        counted
    }

    /// One more waits, until the guard is dropped.
    pub(crate) fn queued(&self) -> Raised {
        self.queued.raise(&[])
    }

    /// One more runs, until the guard is dropped; it had waited so long.
    pub(crate) fn running(&self, waited: Duration) -> Raised {
        self.wait.record(waited.as_secs_f64(), &[]);
        self.running.raise(&[])
    }
}
