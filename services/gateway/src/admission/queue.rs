//! Who runs, who waits and who is next: a value that is told the time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use unipic_api::{ApiError, Reason};
use unipic_serving::{Priority, Tenant};

use super::pace::Paces;
use super::{Ask, within_reason};
use crate::config::AdmissionConfig;

/// Interactive requests that may go before one that waits in the background: so that never starves.
pub(super) const BEFORE_BATCH: u32 = 4;

/// Places that work in the background leaves free, where there is more than one: whoever waits for an image does not wait for
/// a whole one of those.
const KEPT_FREE: usize = 1;

#[derive(Debug)]
pub(super) struct Queue {
    config: AdmissionConfig,
    next: u64,
    /// Those who wait, by number: the order in which they came.
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
    pub(super) fn has_room(&self, ask: &Ask) -> bool {
        let of_tenant = |other: &Ask| other.tenant == ask.tenant;
        let is_known = self.running.values().any(|running| of_tenant(&running.ask))
            || self.interactive.values().chain(self.batch.values()).any(|waiting| of_tenant(&waiting.ask));
        let most = self.config.max_queued;
        let most = if is_known { most } else { most.saturating_add(most.div_ceil(4)) };
        self.runs_at_once(ask) || self.n_waiting() < most
    }

    fn runs_at_once(&self, ask: &Ask) -> bool {
        let own = self.running_of(&ask.tenant);
        let is_first =
            |lane: &BTreeMap<u64, Waiting>| lane.values().all(|waiting| self.running_of(&waiting.ask.tenant) > own);
        let is_next = match ask.priority {
            Priority::Interactive => is_first(&self.interactive),
            Priority::Batch => self.interactive.is_empty() && is_first(&self.batch),
        };
        is_next && self.fits(ask)
    }

    fn running_of(&self, tenant: &Tenant) -> usize {
        self.running.values().filter(|running| running.ask.tenant == *tenant).count()
    }

    /// Whether it may run beside those who do. A tenant of whose requests none runs has more room than others: all places
    /// may be taken by one crowd.
    fn fits(&self, ask: &Ask) -> bool {
        let AdmissionConfig { max_running, max_running_cost: max_cost, .. } = self.config;
        let (most, max_cost) = match self.running_of(&ask.tenant) {
            0 => (self.config.most_running(), max_cost.saturating_add(max_cost / 4)),
            _ => (max_running, max_cost),
        };
        // Alone there is only what is everybody's.
        let most = if self.running.is_empty() { max_running } else { most };
        let light = self.running_cost.saturating_add(ask.work.cost) <= max_cost;
        let is_let_in = ask.priority == Priority::Interactive || self.has_batch_place();
        is_let_in && self.running.len() < most && (light || self.running.is_empty())
    }

    /// Whether work in the background may take one more place.
    fn has_batch_place(&self) -> bool {
        let taken = self.running.values().filter(|running| running.ask.priority == Priority::Batch).count();
        taken < self.config.max_running.saturating_sub(KEPT_FREE).max(1)
    }

    /// Those who wait in a lane in the order in which they go if nothing else changes: each with the number of its tenant's
    /// requests that run or go before it, of which fewest is next, and its own number, of which the smallest is.
    fn order(&self, lane: &BTreeMap<u64, Waiting>) -> Vec<(usize, u64)> {
        let mut ranks: HashMap<&Tenant, usize> = HashMap::new();
        let mut order: Vec<(usize, u64)> = Vec::with_capacity(lane.len());
        for (number, waiting) in lane {
            let tenant = &waiting.ask.tenant;
            let rank = ranks.entry(tenant).or_insert_with(|| self.running_of(tenant));
            order.push((*rank, *number));
            *rank += 1;
        }
        order.sort_unstable();
        order
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
        let seconds = if self.runs_at_once(ask) {
            own * (self.running.len() + 1) as f64
        } else {
            // The devices do all that is before it and then it, in whatever order.
            self.remaining() + self.seconds_ahead(ask) + own
        };
        Some(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
    }

    /// Seconds of the whole server that those who wait and go before a newcomer need.
    fn seconds_ahead(&self, ask: &Ask) -> f64 {
        let lane = self.lane(ask.priority);
        let own = lane.values().filter(|waiting| waiting.ask.tenant == ask.tenant).count();
        let rank = self.running_of(&ask.tenant) + own;
        let before = self.order(lane).into_iter().take_while(|(other, _)| *other <= rank);
        let ahead: f64 = before.filter_map(|(_, number)| lane.get(&number)).map(|w| self.seconds(&w.ask)).sum();
        let interactive = (ask.priority == Priority::Batch).then_some(&self.interactive).into_iter().flatten();
        ahead + interactive.map(|(_, w)| self.seconds(&w.ask)).sum::<f64>()
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
        self.lane_mut(ask.priority).insert(number, Waiting { ask, turn });
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
        let ahead = |lane| self.order(lane).into_iter().position(|(_, other)| other == number);
        if self.interactive.contains_key(&number) {
            return ahead(&self.interactive).map(|n| n as u32);
        }
        ahead(&self.batch).map(|n| (self.interactive.len() + n) as u32)
    }

    fn lane(&self, priority: Priority) -> &BTreeMap<u64, Waiting> {
        match priority {
            Priority::Interactive => &self.interactive,
            Priority::Batch => &self.batch,
        }
    }

    fn lane_mut(&mut self, priority: Priority) -> &mut BTreeMap<u64, Waiting> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }

    /// Lets in whoever is next, as long as there is room.
    fn grant(&mut self) {
        while let Some(priority) = self.next_lane() {
            let lane = self.lane(priority);
            let first = lane.iter().min_by_key(|(number, waiting)| (self.running_of(&waiting.ask.tenant), **number));
            let Some(number) = first.filter(|(_, waiting)| self.fits(&waiting.ask)).map(|(n, _)| *n) else { return };
            let Some(Waiting { ask, turn }) = self.lane_mut(priority).remove(&number) else { return };
            self.running_cost += ask.work.cost;
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
            (false, false) if self.before_batch >= BEFORE_BATCH && self.has_batch_place() => Some(Priority::Batch),
            (false, false) => Some(Priority::Interactive),
        }
    }
}
