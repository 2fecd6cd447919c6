//! What an engine tells about its jobs and batches, for whoever counts them.
//!
//! A trait rather than a metrics library: this crate stays generic, and tests watch an engine with a few lines. Methods are
//! called on the device's thread and on those that submit, so they must not wait.

use std::sync::Arc;
use std::time::Duration;

use tracing::Span;

use crate::EngineError;

/// Is told what becomes of jobs and batches. Every job ends exactly once, whether it was ever queued or not.
pub trait Observer: Send + Sync + 'static {
    /// A job joined a worker's queue.
    fn job_queued(&self) {}

    /// A job left its queue: to be computed, refused or forgotten.
    fn job_left_queue(&self) {}

    /// A caller's job is over.
    fn job_ended(&self, outcome: Outcome) {
        let _ = outcome;
    }

    /// A batch was computed, well or not.
    fn batch_ran(&self, batch: &BatchReport<'_>) {
        let _ = batch;
    }
}

/// How a job ended for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Answered,
    /// The worker failed.
    Fault,
    /// The device had no memory for it.
    Exhausted,
    /// Refused: as many waited as may.
    Full,
    /// Cancelled, or given up by its caller.
    Cancelled,
    /// Its deadline passed.
    DeadlineExceeded,
    /// The engine had stopped.
    Closed,
}

/// A batch that was computed.
#[derive(Clone, Debug)]
pub struct BatchReport<'a> {
    /// The worker's word for its kind.
    pub kind: &'static str,
    /// Tokens in it; none for a job that runs alone whatever its size.
    pub tokens: Option<usize>,
    /// How long each of its jobs had waited.
    pub queued: &'a [Duration],
    /// How long the batch took.
    pub ran: Duration,
}

/// Nobody is told anything.
pub(crate) struct Unobserved;

impl Observer for Unobserved {}

/// A job that waits; it has left the queue when this is dropped, however that comes about.
pub(crate) struct Waiting {
    /// Open for as long as the job waits.
    _span: Span,
    observer: Arc<dyn Observer>,
}

impl Waiting {
    pub(crate) fn new(span: Span, observer: &Arc<dyn Observer>) -> Self {
        observer.job_queued();
        Self { _span: span, observer: Arc::clone(observer) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.observer.job_left_queue();
    }
}

/// A caller's job; given up when dropped before it is told how it ended.
pub(crate) struct Ending {
    observer: Arc<dyn Observer>,
    outcome: Outcome,
}

impl Ending {
    pub(crate) fn of(observer: &Arc<dyn Observer>) -> Self {
        Self { observer: Arc::clone(observer), outcome: Outcome::Cancelled }
    }

    pub(crate) fn with<T>(mut self, answer: &Result<T, EngineError>) {
        self.outcome = match answer {
            Ok(_) => Outcome::Answered,
            Err(EngineError::Fault(_)) => Outcome::Fault,
            Err(EngineError::Exhausted(_)) => Outcome::Exhausted,
            Err(EngineError::Full) => Outcome::Full,
            Err(EngineError::Cancelled) => Outcome::Cancelled,
            Err(EngineError::DeadlineExceeded) => Outcome::DeadlineExceeded,
            Err(EngineError::Closed) => Outcome::Closed,
        };
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.observer.job_ended(self.outcome);
    }
}
