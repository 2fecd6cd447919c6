//! The thread, its workers and their turns.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{Span, info_span};

use crate::lane::Lane;
use crate::observer::{BatchReport, Observer, Unobserved};
use crate::queue::{Batch, Pending, Queue};
use crate::{Done, EngineError, JobError, Worker};

/// How long callers that were just answered are waited for: longer than the way there and back takes, far shorter than a
/// pass of a real model.
const GATHER: Duration = Duration::from_micros(200);

/// How an engine is run.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Name of the thread, and of the engine in spans.
    pub name: String,
    /// Jobs that may wait for one worker.
    pub queue_capacity: usize,
    /// Tokens that a batch may hold; a single job may hold more.
    pub max_batch_tokens: usize,
}

/// A handle on the thread that owns a device. The thread ends, and is joined, when the last [`Engine`] and the last
/// [`Lane`] are dropped; that drop waits for the batch that is running.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What the handles share.
pub(crate) struct Inner {
    config: EngineConfig,
    observer: Arc<dyn Observer>,
    board: Arc<Board>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the handles tell the thread.
struct Board {
    notes: Mutex<Notes>,
    changed: Condvar,
}

#[derive(Default)]
struct Notes {
    newcomers: Vec<Box<dyn Turn>>,
    /// Something was queued since the thread last looked.
    work: bool,
    closed: bool,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn spawn(config: EngineConfig) -> io::Result<Self> {
        Self::spawn_observed(config, Arc::new(Unobserved))
    }

    /// [`Engine::spawn`], with somebody who is told what becomes of jobs and batches.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn spawn_observed(config: EngineConfig, observer: Arc<dyn Observer>) -> io::Result<Self> {
        let board = Arc::new(Board { notes: Mutex::default(), changed: Condvar::new() });
        let seen = board.clone();
        let thread = thread::Builder::new().name(config.name.clone()).spawn(move || serve(&seen))?;
        Ok(Self { inner: Arc::new(Inner { config, observer, board, thread: Mutex::new(Some(thread)) }) })
    }

    /// Moves a worker to the thread.
    pub fn add_worker<W: Worker>(&self, worker: W) -> Lane<W::Job, W::Reply> {
        let queue = Arc::new(Queue::new(self.inner.config.queue_capacity));
        let seat = Seat {
            worker,
            queue: queue.clone(),
            budget: self.inner.config.max_batch_tokens,
            engine: self.inner.config.name.clone(),
            observer: self.inner.observer.clone(),
        };
        let mut notes = self.inner.board.lock();
        // Dropping the seat of a closed engine closes its queue, so its lane answers `Closed`.
        if !notes.closed {
            notes.newcomers.push(Box::new(seat));
        }
        drop(notes);
        self.inner.board.changed.notify_one();
        Lane { queue, engine: self.inner.clone() }
    }

    /// Stops the thread behind the batch that is running: jobs that wait, and all to come, are answered
    /// [`EngineError::Closed`].
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    pub(crate) fn observer(&self) -> &Arc<dyn Observer> {
        &self.observer
    }

    pub(crate) fn wake(&self) {
        self.board.lock().work = true;
        self.board.changed.notify_one();
    }

    fn close(&self) {
        self.board.lock().closed = true;
        self.board.changed.notify_one();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A job that held the last handle drops it on the thread itself, which cannot wait for its own end.
        if let Some(thread) = thread.filter(|t| t.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// The thread's life: workers take turns, one batch each, until the board says stop.
fn serve(board: &Board) {
    let mut seats: Vec<Box<dyn Turn>> = Vec::new();
    let mut next = 0;
    loop {
        let mut notes = board.lock();
        seats.append(&mut notes.newcomers);
        if notes.closed {
            return;
        }
        notes.work = false;
        drop(notes);
        let n = seats.len();
        let turn = (next..next + n).map(|i| i % n).find_map(|i| seats[i].take_turn().map(|answered| (i, answered)));
        match turn {
            Some((i, answered)) => {
                next = i + 1;
                gather(board, &seats, i, answered);
            }
            None => wait(board),
        }
    }
}

/// Gives callers that were just answered a moment to come back, so that requests in step with each other stay in one
/// batch. Without it two requests that loop over the device would take turns for ever, each alone: one's next job always
/// comes just after the other's has begun. Nobody waits for it while another worker has something to do.
fn gather(board: &Board, seats: &[Box<dyn Turn>], turn: usize, answered: usize) {
    let (until, expected) = (Instant::now() + GATHER, seats[turn].waiting() + answered);
    let mut notes = board.lock();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let others_wait = (0..seats.len()).any(|i| i != turn && seats[i].waiting() > 0);
        if seats[turn].waiting() >= expected || others_wait || notes.closed || left.is_zero() {
            return;
        }
        notes = board.changed.wait_timeout(notes, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn wait(board: &Board) {
    let mut notes = board.lock();
    while !notes.work && !notes.closed && notes.newcomers.is_empty() {
        notes = board.changed.wait(notes).unwrap_or_else(PoisonError::into_inner);
    }
}

/// A worker and its queue, whatever their types.
trait Turn: Send {
    /// Runs one batch and tells how many jobs were answered; none when nothing waits.
    fn take_turn(&mut self) -> Option<usize>;

    /// Jobs that wait.
    fn waiting(&self) -> usize;
}

struct Seat<W: Worker> {
    worker: W,
    queue: Arc<Queue<W::Job, W::Reply>>,
    budget: usize,
    engine: String,
    observer: Arc<dyn Observer>,
}

impl<W: Worker> Drop for Seat<W> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl<W: Worker> Turn for Seat<W> {
    fn take_turn(&mut self) -> Option<usize> {
        let worker = &self.worker;
        let taken = catch_unwind(AssertUnwindSafe(|| {
            self.queue.take_batch(self.budget, |job| worker.tokens(job), |job| worker.kind(job))
        }));
        match taken {
            Ok(None) => None,
            Ok(Some(batch)) => {
                let answered = batch.jobs.len();
                self.run(batch);
                Some(answered)
            }
            // The scan lost what it held; those callers are answered `Closed` by their dropped channels.
            Err(_) => Some(0),
        }
    }

    fn waiting(&self) -> usize {
        self.queue.len()
    }
}

impl<W: Worker> Seat<W> {
    fn run(&mut self, batch: Batch<W::Job, W::Reply>) {
        let traced = batch.jobs.iter().find_map(|p| p.context.span.with_subscriber(|(_, dispatch)| dispatch.clone()));
        match traced {
            // The batch is recorded where its jobs are, whichever thread the subscriber was set on.
            Some(dispatch) => tracing::dispatcher::with_default(&dispatch, || {
                let span = self.batch_span(&batch);
                span.in_scope(|| self.compute(batch));
            }),
            None => self.compute(batch),
        }
    }

    /// A span of its own trace, linked to the spans of the jobs.
    fn batch_span(&self, batch: &Batch<W::Job, W::Reply>) -> Span {
        let (jobs, kind, tokens) = (batch.jobs.len(), self.worker.kind_name(batch.kind), batch.tokens());
        let span = info_span!(parent: None, "batch", engine = self.engine, kind, jobs, tokens);
        for pending in &batch.jobs {
            span.follows_from(pending.context.span.id());
        }
        span
    }

    fn compute(&mut self, batch: Batch<W::Job, W::Reply>) {
        let started = Instant::now();
        let (kind, tokens) = (self.worker.kind_name(batch.kind), batch.tokens());
        let mut jobs = Vec::with_capacity(batch.jobs.len());
        let mut callers = Vec::with_capacity(batch.jobs.len());
        for Pending { job, answer, since, waiting, context: _ } in batch.jobs {
            drop(waiting);
            jobs.push(job);
            callers.push((answer, started.saturating_duration_since(since)));
        }
        let replies = self.guarded(jobs, callers.len());
        let ran = started.elapsed();
        let queued: Vec<Duration> = callers.iter().map(|(_, queued)| *queued).collect();
        self.observer.batch_ran(&BatchReport { kind, tokens, queued: &queued, ran });
        for ((answer, queued), reply) in callers.into_iter().zip(replies) {
            let done = reply.map(|reply| done(reply, queued, ran)).map_err(|e| EngineError::Fault(e.0));
            // A caller that has gone does not read its answer.
            let _ = answer.send(done);
        }
    }

    /// Exactly `n` results, whatever the worker does.
    fn guarded(&mut self, jobs: Vec<W::Job>, n: usize) -> Vec<Result<W::Reply, JobError>> {
        let fault = |reason: String| (0..n).map(|_| Err(JobError(reason.clone()))).collect();
        match catch_unwind(AssertUnwindSafe(|| self.worker.run(jobs))) {
            Ok(replies) if replies.len() == n => replies,
            Ok(replies) => fault(format!("the worker answered {} of {n} jobs", replies.len())),
            Err(payload) => fault(format!("the worker panicked: {}", panic_message(payload.as_ref()))),
        }
    }
}

fn done<R>(reply: R, queued: Duration, ran: Duration) -> Done<R> {
    Done { reply, queued, ran }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
