//! Who runs, who waits and who is next: a value that is told the time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use tokio::sync::oneshot;
use unipic_api::{ApiError, Reason};

use super::pace::Paces;
use super::{Ask, Priority, within_reason};
use crate::config::AdmissionConfig;

/// Interactive requests that may go before one that waits in the background.
const BEFORE_BATCH: u32 = 4;

#[derive(Debug)]
pub(super) struct Queue {
    config: AdmissionConfig,
    next: u64,
    /// Those who wait, by number: the first ones next.
    interactive: BTreeMap<u64, Waiting>,
    batch: BTreeMap<u64, Waiting>,
    running: BTreeMap<u64, Running>,
    running_cost: u64,
    /// Interactive requests that went before the batch requests that wait.
    before_batch: u32,
    paces: Paces,
    now: Instant,
    /// Seconds so far, each divided by the number of those who ran in it.
    shared_seconds: f64,
}

#[derive(Debug)]
struct Waiting {
    ask: Ask,
    turn: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Running {
    ask: Ask,
    /// `shared_seconds` when it began.
    since: f64,
}

impl Queue {
    pub(super) fn new(config: AdmissionConfig, now: Instant) -> Self {
        Self {
            config,
            next: 0,
            interactive: BTreeMap::new(),
            batch: BTreeMap::new(),
            running: BTreeMap::new(),
            running_cost: 0,
            before_batch: 0,
            paces: Paces::default(),
            now,
            shared_seconds: 0.0,
        }
    }

    /// Tells the time. Call it before anything that depends on it.
    pub(super) fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.now).as_secs_f64();
        if !self.running.is_empty() {
            self.shared_seconds += passed / self.running.len() as f64;
        }
        self.now = self.now.max(now);
    }

    pub(super) fn n_running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn n_waiting(&self) -> usize {
        self.interactive.len() + self.batch.len()
    }

    /// Whether one more may wait, or needs not.
    pub(super) fn has_room(&self, cost: u64) -> bool {
        self.runs_at_once(cost) || self.n_waiting() < self.config.max_queued
    }

    fn runs_at_once(&self, cost: u64) -> bool {
        self.n_waiting() == 0 && self.fits(cost)
    }

    fn fits(&self, cost: u64) -> bool {
        let light = self.running_cost.saturating_add(cost) <= self.config.max_running_cost;
        self.running.len() < self.config.max_running && (light || self.running.is_empty())
    }

    /// The refusal where there is no room.
    pub(super) fn full(&self) -> ApiError {
        ApiError::Overloaded { reason: Reason::QueueFull, retry_after: self.clears_in() }
    }

    /// When all who are here will have been served, at the usual pace; between one second and a minute.
    pub(super) fn clears_in(&self) -> Duration {
        let waiting: f64 = self.interactive.values().chain(self.batch.values()).map(|w| self.seconds(&w.ask)).sum();
        within_reason(Duration::from_secs_f64((self.remaining() + waiting).clamp(0.0, 3600.0)))
    }

    /// Time until a newcomer were done, where its pace is known. Those whose pace is not known count for nothing, so
    /// that nobody is refused for a guess.
    pub(super) fn expected(&self, ask: &Ask) -> Option<Duration> {
        let own = self.paces.seconds(ask.work.kind, ask.work.cost, self.now)?;
        let seconds = if self.runs_at_once(ask.work.cost) {
            own * (self.running.len() + 1) as f64
        } else {
            // The devices do all that is before it and then it, in whatever order.
            let batch = (ask.priority == Priority::Batch).then_some(&self.batch).into_iter().flatten();
            let ahead: f64 = self.interactive.iter().chain(batch).map(|(_, w)| self.seconds(&w.ask)).sum();
            self.remaining() + ahead + own
        };
        Some(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
    }

    /// Seconds of the whole server that those who run still need.
    fn remaining(&self) -> f64 {
        let left = |r: &Running| (self.seconds(&r.ask) - (self.shared_seconds - r.since)).max(0.0);
        self.running.values().map(left).sum()
    }

    fn seconds(&self, ask: &Ask) -> f64 {
        self.paces.seconds(ask.work.kind, ask.work.cost, self.now).unwrap_or(0.0)
    }

    /// Joins; `turn` is told when it may run, which may be at once.
    pub(super) fn join(&mut self, ask: Ask, turn: oneshot::Sender<()>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.lane(ask.priority).insert(number, Waiting { ask, turn });
        self.grant();
        number
    }

    /// Leaves, from wherever it is.
    pub(super) fn leave(&mut self, number: u64) {
        if let Some(running) = self.running.remove(&number) {
            self.running_cost -= running.ask.work.cost;
        }
        self.interactive.remove(&number);
        self.batch.remove(&number);
        self.grant();
    }

    /// Notes that a running request did what it was to do.
    pub(super) fn learn(&mut self, number: u64) {
        if let Some(Running { ask, since }) = self.running.get(&number) {
            self.paces.learn(ask.work.kind, ask.work.cost, self.shared_seconds - since, self.now);
        }
    }

    /// How many go before one that waits, as it stands; none when it does not wait.
    pub(super) fn position(&self, number: u64) -> Option<u32> {
        if self.interactive.contains_key(&number) {
            return Some(self.interactive.range(..number).count() as u32);
        }
        let ahead = self.interactive.len() + self.batch.range(..number).count();
        self.batch.contains_key(&number).then_some(ahead as u32)
    }

    fn lane(&mut self, priority: Priority) -> &mut BTreeMap<u64, Waiting> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }

    /// Lets in whoever is next, as long as there is room.
    fn grant(&mut self) {
        while let Some(priority) = self.next_lane() {
            let first = self.lane(priority).first_key_value().map(|(number, waiting)| (*number, waiting.ask.work.cost));
            let Some((number, cost)) = first.filter(|(_, cost)| self.fits(*cost)) else { return };
            let Some(Waiting { ask, turn }) = self.lane(priority).remove(&number) else { return };
            self.running_cost += cost;
            self.running.insert(number, Running { ask, since: self.shared_seconds });
            match priority {
                Priority::Batch => self.before_batch = 0,
                Priority::Interactive if self.batch.is_empty() => self.before_batch = 0,
                Priority::Interactive => self.before_batch += 1,
            }
            // One that does not listen any more is about to leave, and passes its place on then.
            let _ = turn.send(());
        }
    }

    /// Whose turn it is.
    fn next_lane(&self) -> Option<Priority> {
        match (self.interactive.is_empty(), self.batch.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Priority::Batch),
            (false, true) => Some(Priority::Interactive),
            (false, false) if self.before_batch >= BEFORE_BATCH => Some(Priority::Batch),
            (false, false) => Some(Priority::Interactive),
        }
    }
}
