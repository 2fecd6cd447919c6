//! The bounded queue of one worker, and the choice of what shares a batch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::ledger::{Tally, Waiting as Waiters};
use crate::observer::Waiting;
use crate::{Done, EngineError, JobContext};

pub(crate) type Answer<R> = Result<Done<R>, EngineError>;

/// A job that waits.
pub(crate) struct Pending<J, R> {
    pub(crate) job: J,
    pub(crate) context: JobContext,
    /// Whose turns it takes.
    pub(crate) account: Arc<str>,
    pub(crate) answer: oneshot::Sender<Answer<R>>,
    pub(crate) since: Instant,
    /// How long earlier jobs of the same call waited, and their batches took.
    pub(crate) so_far: (Duration, Duration),
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

/// A job that waits, as the choice of a batch sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) tenant: Arc<str>,
    pub(crate) kind: u32,
    pub(crate) tokens: usize,
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
        // What is guarded is whole even after a panic: jobs are only moved, one statement each.
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

    /// Takes a job that goes on: it had its place in the queue already, so there is one for it.
    pub(crate) fn put_back(&self, pending: Pending<J, R>) {
        let mut inner = self.lock();
        match inner.closed {
            true => drop(pending.answer.send(Err(EngineError::Closed))),
            false => inner.jobs.push_back(pending),
        }
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

    /// Adds those who wait to `tally`, and refuses jobs that nobody wants any more.
    pub(crate) fn count(&self, tally: &mut Tally) {
        let mut inner = self.lock();
        let dead = inner.take_abandoned();
        for pending in &inner.jobs {
            let since = pending.since;
            let waiting = tally.entry(pending.account.clone()).or_insert(Waiters { jobs: 0, oldest: since });
            waiting.jobs += 1;
            waiting.oldest = waiting.oldest.min(since);
        }
        drop(inner);
        dead.into_iter().for_each(Pending::refuse);
    }

    /// Whether a job of this tenant waits.
    pub(crate) fn holds(&self, tenant: &str) -> bool {
        self.lock().jobs.iter().any(|pending| &*pending.account == tenant)
    }

    /// Takes the jobs that `choose` picks of all that wait, oldest first, by their positions; in the order of the picks.
    pub(crate) fn take(
        &self,
        tokens: impl Fn(&J) -> usize,
        kind: impl Fn(&J) -> u32,
        choose: impl FnOnce(&[Candidate]) -> Vec<usize>,
    ) -> Vec<Pending<J, R>> {
        let mut inner = self.lock();
        let candidate = |pending: &Pending<J, R>| Candidate {
            tenant: pending.account.clone(),
            kind: kind(&pending.job),
            tokens: tokens(&pending.job),
        };
        let candidates: Vec<Candidate> = inner.jobs.iter().map(candidate).collect();
        let picks = choose(&candidates);
        let mut jobs: Vec<Option<Pending<J, R>>> = std::mem::take(&mut inner.jobs).into_iter().map(Some).collect();
        let taken = picks.into_iter().filter_map(|i| jobs.get_mut(i)?.take()).collect();
        inner.jobs = jobs.into_iter().flatten().collect();
        taken
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
