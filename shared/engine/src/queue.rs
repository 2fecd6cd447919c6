//! The bounded queue of one worker, and the choice of what shares a batch.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::observer::Waiting;
use crate::{Done, EngineError, JobContext};

pub(crate) type Answer<R> = Result<Done<R>, EngineError>;

/// A job that waits.
pub(crate) struct Pending<J, R> {
    pub(crate) job: J,
    pub(crate) context: JobContext,
    pub(crate) answer: oneshot::Sender<Answer<R>>,
    pub(crate) since: Instant,
    /// Dropped when the job no longer waits.
    pub(crate) waiting: Waiting,
}

impl<J, R> Pending<J, R> {
    /// Nobody waits for the answer, whatever the context says.
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed() || self.context.check().is_err()
    }

    fn refuse(self) {
        let reason = self.context.check().err().unwrap_or(EngineError::Cancelled);
        // A caller that has gone does not read its answer.
        let _ = self.answer.send(Err(reason));
    }
}

/// Jobs that share a pass.
pub(crate) struct Batch<J, R> {
    pub(crate) jobs: Vec<Pending<J, R>>,
    pub(crate) kind: u32,
    pub(crate) tokens: usize,
}

impl<J, R> Batch<J, R> {
    /// Tokens of all jobs; none for a job that is to run alone, whatever its size.
    pub(crate) fn tokens(&self) -> Option<usize> {
        (self.tokens < usize::MAX).then_some(self.tokens)
    }
}

/// Jobs of one worker, oldest first.
pub(crate) struct Queue<J, R> {
    capacity: usize,
    // A plain lock: it is held for a scan of the queue and never over an await or a computation.
    inner: Mutex<Inner<J, R>>,
}

struct Inner<J, R> {
    jobs: VecDeque<Pending<J, R>>,
    closed: bool,
}

impl<J, R> Queue<J, R> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::new(Inner { jobs: VecDeque::new(), closed: false }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<J, R>> {
        // No code of a worker runs under the lock, so what it guards is whole even after a panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    pub(crate) fn push(&self, pending: Pending<J, R>) -> Result<(), EngineError> {
        let mut dead = Vec::new();
        let mut inner = self.lock();
        if inner.closed {
            return Err(EngineError::Closed);
        }
        if inner.jobs.len() >= self.capacity {
            // Jobs nobody waits for must not keep others out.
            dead = inner.take_abandoned();
        }
        let pushed = if inner.jobs.len() < self.capacity {
            inner.jobs.push_back(pending);
            Ok(())
        } else {
            Err(EngineError::Full)
        };
        drop(inner);
        dead.into_iter().for_each(Pending::refuse);
        pushed
    }

    /// Refuses everything that waits and everything to come.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let jobs = std::mem::take(&mut inner.jobs);
        drop(inner);
        for pending in jobs {
            let _ = pending.answer.send(Err(EngineError::Closed));
        }
    }

    /// The oldest job that is still wanted and later ones of its kind, as long as their tokens stay within `budget`.
    ///
    /// A job larger than the budget runs alone. One that does not fit is passed over for a smaller one behind it; it is
    /// not starved by that, since the oldest job always goes first.
    pub(crate) fn take_batch(
        &self,
        budget: usize,
        tokens: impl Fn(&J) -> usize,
        kind: impl Fn(&J) -> u32,
    ) -> Option<Batch<J, R>> {
        let mut inner = self.lock();
        let dead = inner.take_abandoned();
        let batch = inner.jobs.pop_front().map(|first| {
            let mut batch = Batch { kind: kind(&first.job), tokens: tokens(&first.job), jobs: vec![first] };
            let mut rest = VecDeque::with_capacity(inner.jobs.len());
            for pending in inner.jobs.drain(..) {
                let size = tokens(&pending.job);
                if kind(&pending.job) == batch.kind && batch.tokens.saturating_add(size) <= budget {
                    batch.tokens += size;
                    batch.jobs.push(pending);
                } else {
                    rest.push_back(pending);
                }
            }
            inner.jobs = rest;
            batch
        });
        drop(inner);
        dead.into_iter().for_each(Pending::refuse);
        batch
    }
}

impl<J, R> Inner<J, R> {
    fn take_abandoned(&mut self) -> Vec<Pending<J, R>> {
        if !self.jobs.iter().any(Pending::is_abandoned) {
            return Vec::new();
        }
        let (dead, alive): (Vec<_>, VecDeque<_>) =
            self.jobs.drain(..).fold((Vec::new(), VecDeque::new()), |(mut dead, mut alive), pending| {
                if pending.is_abandoned() {
                    dead.push(pending)
                } else {
                    alive.push_back(pending)
                }
                (dead, alive)
            });
        self.jobs = alive;
        dead
    }
}
