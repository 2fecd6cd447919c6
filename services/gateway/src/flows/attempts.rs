//! The attempts at one piece of a request's work: how long they go on, who is told, and what is counted of them.

use tokio::time::Instant;
use unipic_api::{ApiError, pb};
use unipic_client::Patience;
use unipic_telemetry::metrics::RetryMetrics;

use crate::backends::Backends;
use crate::gateway::Gateway;

/// Attempts at one piece of work, from the first on.
#[derive(Debug)]
pub(super) struct Attempts {
    backend: pb::Backend,
    patience: Patience,
    metrics: RetryMetrics,
    /// Patience starts anew with progress; this does not.
    retried: bool,
}

impl Attempts {
    /// Begins work at a backend.
    pub(super) fn begin<B: Backends>(gateway: &Gateway<B>, backend: pb::Backend, deadline: Instant) -> Self {
        let patience = gateway.shared.retries.of(backend).begin(Some(deadline));
        Self { backend, patience, metrics: gateway.shared.metrics.retries.clone(), retried: false }
    }

    /// The work went on: the next loss is a new one.
    pub(super) fn worked(&mut self) {
        self.patience.worked();
    }

    /// Number of the next attempt since the work last went on; the first one is 1.
    pub(super) fn number(&self) -> u32 {
        self.patience.attempt()
    }

    /// Waits until lost work may be done again, and tells `resumed`. What was only refused, because a replica is full, is
    /// no loss and is tried again in silence.
    ///
    /// # Errors
    /// The error itself when it is of another kind or patience has ended; DEADLINE_EXCEEDED.
    pub(super) async fn make_good(&mut self, error: ApiError, resumed: impl Fn(pb::Resumed)) -> Result<(), ApiError> {
        let is_loss = matches!(error, ApiError::Unavailable { .. });
        if Patience::is_worth_it(&error) {
            let (service, attempt) = (self.backend.as_str_name(), self.number());
            tracing::warn!(%error, service, attempt, "work was lost");
        }
        let retry = self.patience.note(error)?;
        if is_loss {
            resumed(pb::Resumed { what: self.backend.into(), attempt: self.number() });
        }
        retry.wait().await?;
        self.retried = true;
        self.metrics.retried(label(self.backend));
        Ok(())
    }

    /// The work is done: a failover where it took more than one attempt.
    pub(super) fn ended_well(&self) {
        if self.retried {
            self.metrics.failed_over(label(self.backend));
        }
    }
}

/// What metrics call a backend.
fn label(backend: pb::Backend) -> &'static str {
    match backend {
        pb::Backend::Understanding => "understanding",
        pb::Backend::Synthesis => "synthesis",
        pb::Backend::Decoder => "decoder",
        pb::Backend::Unspecified => "unspecified",
    }
}
