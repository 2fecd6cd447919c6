//! The thread's life: tenants and workers take turns, one batch each.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Clock;
use crate::ledger::{Ledger, Tally};

/// How long callers that were just answered are waited for: longer than the way there and back takes, far shorter than a
/// pass of a real model.
const GATHER: Duration = Duration::from_micros(200);

/// What the handles tell the thread.
#[derive(Default)]
pub(crate) struct Board {
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

    /// Hands a worker over. That of a closed engine is dropped, which closes its queue.
    pub(crate) fn add(&self, newcomer: Box<dyn Turn>) {
        let mut notes = self.lock();
        if !notes.closed {
            notes.newcomers.push(newcomer);
        }
        drop(notes);
        self.changed.notify_one();
    }

    /// Something was queued.
    pub(crate) fn wake(&self) {
        self.lock().work = true;
        self.changed.notify_one();
    }

    /// Stops the thread behind the batch that is running.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut notes = self.lock();
        while !notes.work && !notes.closed && notes.newcomers.is_empty() {
            notes = self.changed.wait(notes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for something to happen; false when nothing did for so long.
    fn wait_for(&self, left: Duration) -> bool {
        let notes = self.lock();
        let nothing = |notes: &mut Notes| !notes.work && !notes.closed && notes.newcomers.is_empty();
        let waited = self.changed.wait_timeout_while(notes, left, nothing).unwrap_or_else(PoisonError::into_inner);
        !waited.1.timed_out()
    }
}

/// A worker and its queue, whatever their types.
pub(crate) trait Turn: Send {
    /// Runs one batch that begins with the oldest job of `leader`, charges for it, and tells how many callers were answered.
    fn take_turn(&mut self, leader: &str, ledger: &mut Ledger) -> usize;

    /// Adds those who wait.
    fn count(&self, tally: &mut Tally);

    /// Whether a job of this tenant waits.
    fn holds(&self, tenant: &str) -> bool;

    /// Jobs that wait.
    fn waiting(&self) -> usize;
}

/// The thread.
pub(crate) struct Server {
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Arc<dyn Clock>,
    seats: Vec<Box<dyn Turn>>,
    ledger: Ledger,
    /// The seat that comes first the next time.
    next: usize,
}

impl Server {
    pub(crate) fn new(board: Arc<Board>, clock: Arc<dyn Clock>) -> Self {
        Self { board, clock, seats: Vec::new(), ledger: Ledger::default(), next: 0 }
    }

    /// Lives until the board says stop.
    pub(crate) fn serve(mut self) {
        while self.heed() {
            match self.leader() {
                None => self.board.wait(),
                Some(leader) if self.is_preceded(&leader) => {}
                Some(leader) => self.take_turn(&leader),
            }
        }
    }

    /// Takes note of the board; false when it says stop.
    fn heed(&mut self) -> bool {
        let mut notes = self.board.lock();
        self.seats.append(&mut notes.newcomers);
        notes.work = false;
        !notes.closed
    }

    /// The tenant whose turn it is.
    fn leader(&mut self) -> Option<Arc<str>> {
        let mut tally = Tally::new();
        for seat in &self.seats {
            seat.count(&mut tally);
        }
        self.ledger.look(&tally, self.clock.now());
        self.ledger.next()
    }

    /// Gives one that goes before `leader` a moment to come back: true where there is something new to look at.
    fn is_preceded(&mut self, leader: &str) -> bool {
        let Some((tenant, left)) = self.ledger.awaited(leader, self.clock.now()) else { return false };
        if !self.board.wait_for(left) {
            self.ledger.missed(&tenant);
        }
        true
    }

    /// One batch for `leader`, of the first worker in turn that it waits for.
    fn take_turn(&mut self, leader: &str) {
        let n = self.seats.len();
        let Some(i) = (self.next..self.next + n).map(|i| i % n).find(|i| self.seats[*i].holds(leader)) else { return };
        self.ledger.leads(leader);
        let answered = self.seats[i].take_turn(leader, &mut self.ledger);
        self.next = i + 1;
        // Beside a crowd nobody is kept waiting so that the crowd may stay in step.
        if !self.ledger.is_uneven() {
            self.gather(i, answered);
        }
    }

    /// Gives callers that were just answered a moment to come back, so that requests in step with each other stay in one
    /// batch. Without it two requests that loop over the device would take turns for ever, each alone: one's next job
    /// always comes just after the other's has begun. Nobody waits for it while another worker has something to do.
    fn gather(&self, turn: usize, answered: usize) {
        let (until, expected) = (Instant::now() + GATHER, self.seats[turn].waiting() + answered);
        let mut notes = self.board.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let others_wait = (0..self.seats.len()).any(|i| i != turn && self.seats[i].waiting() > 0);
            if self.seats[turn].waiting() >= expected || others_wait || notes.closed || left.is_zero() {
                return;
            }
            notes = self.board.changed.wait_timeout(notes, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
