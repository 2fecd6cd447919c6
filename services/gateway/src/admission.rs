//! One place for every request of the process: so many run, so many wait in order, the next is told when to come back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use unipic_api::{ApiError, Reason};
use unipic_telemetry::metrics::Raised;

use crate::config::AdmissionConfig;
use crate::metrics::AdmissionMetrics;

/// How much one more finished request moves the expected duration.
const SMOOTHING: f64 = 0.2;

/// The gate. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Tokio's semaphore serves waiters in order.
    permits: Arc<Semaphore>,
    max_running: usize,
    max_queued: usize,
    /// A lock and not a channel, because entering must see and change the queue at once. Held for a few map operations.
    queue: Mutex<Queue>,
    /// Counts changes of the queue, so that those waiting learn their new position.
    changes: watch::Sender<u64>,
    metrics: AdmissionMetrics,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    /// Numbers of those who wait, the first one next.
    waiting: BTreeSet<u64>,
    /// Requests that run.
    running: usize,
    /// Smoothed seconds that a request ran.
    typical_seconds: f64,
}

/// A place in the queue; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    number: u64,
    since: Instant,
    _queued: Raised,
}

/// The right to run; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    since: Instant,
    _running: Raised,
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(config: &AdmissionConfig, metrics: AdmissionMetrics) -> Self {
        let shared = Shared {
            permits: Arc::new(Semaphore::new(config.max_running)),
            max_running: config.max_running,
            max_queued: config.max_queued,
            queue: Mutex::default(),
            changes: watch::Sender::new(0),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Joins the queue.
    ///
    /// # Errors
    /// `Overloaded` with the time after which a place may be free, when as many wait as may.
    pub(crate) fn enter(&self) -> Result<Ticket, ApiError> {
        let shared = &self.shared;
        let mut queue = shared.queue();
        // Whoever can run at once stands in the queue for a moment only.
        let free = shared.max_running.saturating_sub(queue.running);
        if queue.waiting.len() >= shared.max_queued.saturating_add(free) {
            let retry_after = queue.expected_wait(shared.max_running);
            return Err(ApiError::Overloaded { reason: Reason::QueueFull, retry_after });
        }
        let number = queue.next;
        queue.next += 1;
        queue.waiting.insert(number);
        let queued = shared.metrics.queued();
        Ok(Ticket { shared: Arc::clone(shared), number, since: Instant::now(), _queued: queued })
    }
}

impl Ticket {
    /// Waits for a place. `moved` is told the number of requests ahead, at first (unless there is a place at once) and
    /// whenever it changes. It must not wait: the place may come while it runs.
    pub(crate) async fn wait(self, mut moved: impl FnMut(u32)) -> Result<Place, ApiError> {
        let mut changes = self.shared.changes.subscribe();
        let acquire = Arc::clone(&self.shared.permits).acquire_owned();
        tokio::pin!(acquire);
        let mut told = None;
        let permit = loop {
            tokio::select! {
                biased;
                permit = &mut acquire => break permit,
                // Ready at once on the first turn, then whenever the queue has changed.
                _ = async { if told.is_some() { changes.changed().await.ok(); } } => {}
            }
            let position = self.position();
            if told != Some(position) {
                told = Some(position);
                moved(position);
            }
        };
        // Only a closed semaphore fails, and it is never closed.
        let permit = permit.map_err(|_| ApiError::unavailable(Reason::Draining))?;
        let mut queue = self.shared.queue();
        queue.running += 1;
        queue.waiting.remove(&self.number);
        drop(queue);
        let running = self.shared.metrics.running(self.since.elapsed());
        Ok(Place { shared: Arc::clone(&self.shared), since: Instant::now(), _running: running, _permit: permit })
    }

    /// Requests ahead of this one that wait too.
    fn position(&self) -> u32 {
        self.shared.queue().waiting.range(..self.number).count() as u32
    }
}

impl Shared {
    /// The queue. A thread that panicked cannot have left it inconsistent: every change is one operation.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// When the last one in the queue will have been served, at the usual pace; between one second and a minute.
    fn expected_wait(&self, max_running: usize) -> Duration {
        let rounds = (self.waiting.len() + 1) as f64 / max_running as f64;
        Duration::from_secs_f64((rounds * self.typical_seconds).clamp(1.0, 60.0))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.queue().waiting.remove(&self.number);
        self.shared.changes.send_modify(|count| *count += 1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let seconds = self.since.elapsed().as_secs_f64();
        let mut queue = self.shared.queue();
        queue.running -= 1;
        queue.typical_seconds += SMOOTHING * (seconds - queue.typical_seconds);
    }
}
