//! The async side of a worker: submitting jobs and waiting for their answers.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{Span, info_span};

use crate::engine::Inner;
use crate::observer::{Ending, Waiting};
use crate::queue::{Pending, Queue};
use crate::{Done, EngineError, JobContext};

/// A handle on one worker of an engine. Clones share the worker's queue.
pub struct Lane<J, R> {
    pub(crate) queue: Arc<Queue<J, R>>,
    pub(crate) engine: Arc<Inner>,
}

impl<J, R> Clone for Lane<J, R> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), engine: self.engine.clone() }
    }
}

impl<J: Send + 'static, R: Send + 'static> Lane<J, R> {
    /// Jobs that wait now.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Hands a job over and waits for its answer.
    ///
    /// Dropping the future abandons the job: it is not computed if it still waits. A job that is already running when
    /// its token is cancelled or its deadline passes runs to its end, but the caller is answered at once.
    ///
    /// # Errors
    /// See [`EngineError`]; [`EngineError::Full`] comes at once.
    pub async fn submit(&self, job: J, context: &JobContext) -> Result<Done<R>, EngineError> {
        let ending = Ending::of(self.engine.observer());
        let answer = self.answered(job, context).await;
        ending.with(&answer);
        answer
    }

    async fn answered(&self, job: J, context: &JobContext) -> Result<Done<R>, EngineError> {
        context.check()?;
        let (answer, answered) = oneshot::channel();
        let span = match context.span.is_disabled() {
            true => Span::none(),
            false => info_span!(parent: &context.span, "queue", engine = self.engine.name()),
        };
        let waiting = Waiting::new(span, self.engine.observer());
        let since = self.engine.clock().now();
        let account = context.account();
        let so_far = Default::default();
        self.queue.push(Pending { job, context: context.clone(), account, answer, since, so_far, waiting })?;
        self.engine.wake();
        tokio::select! {
            // An answer that is there counts, even if the deadline passed at the same moment.
            biased;
            answer = answered => answer.unwrap_or(Err(EngineError::Closed)),
            error = context.over() => Err(error),
        }
    }
}
