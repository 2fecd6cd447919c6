//! The handle on the thread.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::clock::System;
use crate::lane::Lane;
use crate::observer::{Observer, Unobserved};
use crate::queue::Queue;
use crate::seat::Seat;
use crate::turns::{Board, Server};
use crate::{Clock, Worker};

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
    clock: Arc<dyn Clock>,
    board: Arc<Board>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What batches run on.
    pool: Arc<ThreadPool>,
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
        Self::spawn_timed(config, observer, Arc::new(System))
    }

    /// [`Engine::spawn_observed`] by another clock than the system's, so that an order which follows from what passes took
    /// can be foretold.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn spawn_timed(config: EngineConfig, observer: Arc<dyn Observer>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let board = Arc::new(Board::default());
        let server = Server::new(board.clone(), clock.clone());
        // Batches run inside a pool: a kernel's parallel loop then begins on the thread that asks for it and is joined
        // there. From outside, every one of thousands of short loops would go to another thread and be waited for.
        let name = config.name.clone();
        let pool = ThreadPoolBuilder::new().thread_name(move |at| format!("{name}-{at}")).build();
        let pool = Arc::new(pool.map_err(io::Error::other)?);
        let inside = Arc::clone(&pool);
        let thread = thread::Builder::new().name(config.name.clone());
        let thread = thread.spawn(move || inside.install(move || server.serve()))?;
        Ok(Self { inner: Arc::new(Inner { config, observer, clock, board, thread: Mutex::new(Some(thread)), pool }) })
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
            clock: self.inner.clock.clone(),
            paces: HashMap::new(),
        };
        self.inner.board.add(Box::new(seat));
        Lane { queue, engine: self.inner.clone() }
    }

    /// Stops the thread behind the batch that is running: jobs that wait, and all to come, are answered
    /// [`EngineError::Closed`](crate::EngineError::Closed).
    pub fn close(&self) {
        self.inner.board.close();
    }
}

impl Inner {
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    pub(crate) fn observer(&self) -> &Arc<dyn Observer> {
        &self.observer
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn wake(&self) {
        self.board.wake();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.board.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A job that held the last handle drops it within the pool, which cannot wait for its own end.
        if let Some(thread) = thread.filter(|_| self.pool.current_thread_index().is_none()) {
            let _ = thread.join();
        }
    }
}
