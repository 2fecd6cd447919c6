//! What a worker is, what travels with a job, and how a job can end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::Span;

/// Computes jobs on the device's thread.
pub trait Worker: Send + 'static {
    /// What is asked.
    type Job: Send + 'static;
    /// What is answered.
    type Reply: Send + 'static;

    /// How much of a batch's budget a job takes; `usize::MAX` for one that is to run alone.
    fn tokens(&self, job: &Self::Job) -> usize;

    /// Which jobs may share a batch: those of equal kind.
    fn kind(&self, job: &Self::Job) -> u32;

    /// What a kind is called in spans and metrics: one word.
    fn kind_name(&self, _kind: u32) -> &'static str {
        "job"
    }

    /// Computes a batch: one result a job, in the order of the jobs.
    ///
    /// # Errors
    /// [`Exhausted`] when the device has no memory for all of them together: nothing was computed, and every job is given
    /// back as it came, in the same order. They come again in two halves; one that comes alone and is given back is
    /// answered [`EngineError::Exhausted`].
    fn run(&mut self, jobs: Vec<Self::Job>) -> Computed<Self::Job, Self::Reply>;

    /// What becomes of a reply: it is the answer, unless the worker says that the job goes on.
    fn follow(&mut self, reply: Self::Reply) -> Follow<Self::Job, Self::Reply> {
        Follow::Answer(reply)
    }
}

/// What becomes of a reply.
#[derive(Debug)]
pub enum Follow<J, R> {
    /// The caller has it.
    Answer(R),
    /// This is to be computed first, for the same caller. It waits for its turn behind those that wait, may share its batch
    /// with others, and ends like any job with its caller's deadline or wish; only the way to the caller and back is saved.
    Again(J),
}

/// What becomes of a batch: a result for every job, or all jobs back.
pub type Computed<J, R> = Result<Vec<Result<R, JobError>>, Exhausted<J>>;

/// A batch that the device has no memory for.
#[derive(Debug)]
pub struct Exhausted<J> {
    /// Its jobs, as they were.
    pub jobs: Vec<J>,
    /// What the device said.
    pub reason: String,
}

/// What a job carries besides its work.
#[derive(Clone, Debug)]
pub struct JobContext {
    /// The span the job is part of. The batch that computes it links to it; a disabled span leaves no trace.
    pub span: Span,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
    /// Cancelled when nobody wants the answer any more.
    pub cancel: CancellationToken,
    /// On whose behalf: jobs of several tenants share the device evenly. A name that means nothing here.
    pub tenant: Arc<str>,
    /// Whether nobody waits for it: what a tenant has done in the background shares the device with what it waits for as if
    /// it were another tenant's, whatever the numbers of both.
    pub is_background: bool,
}

impl JobContext {
    /// A job of the current span on nobody's behalf, without deadline, that nothing cancels.
    pub fn current() -> Self {
        Self {
            span: Span::current(),
            deadline: None,
            cancel: CancellationToken::new(),
            tenant: "".into(),
            is_background: false,
        }
    }

    /// Whose turns at the device it takes.
    pub(crate) fn account(&self) -> Arc<str> {
        match self.is_background {
            // A name that no tenant has: none holds a control character.
            true => format!("{}\u{1}background", self.tenant).into(),
            false => Arc::clone(&self.tenant),
        }
    }

    /// The same tenant, deadline and cancellation under another span.
    pub fn with_span(&self, span: Span) -> Self {
        Self { span, ..self.clone() }
    }

    /// Why the job need not be computed, if there is a reason.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`] or [`EngineError::DeadlineExceeded`].
    pub fn check(&self) -> Result<(), EngineError> {
        // A server cancels what is late, and lateness is the reason then.
        match self.deadline {
            Some(deadline) if deadline <= Instant::now() => Err(EngineError::DeadlineExceeded),
            _ if self.cancel.is_cancelled() => Err(EngineError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Waits until the job need not be computed any more; returns why.
    pub async fn over(&self) -> EngineError {
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = late => EngineError::DeadlineExceeded,
            () = self.cancel.cancelled() => self.check().err().unwrap_or(EngineError::Cancelled),
        }
    }
}

/// An answer, with where the time went.
#[derive(Clone, Debug)]
pub struct Done<R> {
    /// The answer.
    pub reply: R,
    /// Time spent waiting for the device.
    pub queued: Duration,
    /// Time the whole batch took.
    pub ran: Duration,
}

/// A worker could not compute a job.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct JobError {
    reason: String,
    exhausted: bool,
}

impl JobError {
    /// A fault described by anything that can be shown.
    pub fn new(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), exhausted: false }
    }

    /// The device has no memory for the job, even alone.
    pub fn exhausted(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), exhausted: true }
    }
}

impl From<JobError> for EngineError {
    fn from(JobError { reason, exhausted }: JobError) -> Self {
        if exhausted { Self::Exhausted(reason) } else { Self::Fault(reason) }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// As many jobs wait as may wait; try again later.
    #[error("the device's queue is full")]
    Full,
    /// The job's token was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// The job's deadline passed.
    #[error("the job's deadline passed")]
    DeadlineExceeded,
    /// The worker failed.
    #[error("the model failed: {0}")]
    Fault(String),
    /// The device has no memory for the job, now and even alone; there may be some later.
    #[error("the device has no memory for the job: {0}")]
    Exhausted(String),
    /// The engine has stopped.
    #[error("the device's thread has stopped")]
    Closed,
}
