//! One gate for every request of the process: so many run, weighed by their work, so many wait in order, and the next is
//! told at once when to come back.
//!
//! What a request costs differs by orders of magnitude, so places are weighed: tokens × iterations × images. What cannot
//! be done before its deadline is refused before anything is computed for it, and a tenant has its own limits.
//!
//! Tenants take turns: who has fewest requests running is next, so a crowd waits behind its own and not in front of others.

mod pace;
mod queue;
mod tenants;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use unipic_api::{ApiError, Reason};
use unipic_serving::{Priority, Tenant};
use unipic_telemetry::metrics::Raised;

use crate::config::{AdmissionConfig, TenantsConfig};
use crate::metrics::AdmissionMetrics;
use queue::Queue;
use tenants::Tenants;

pub(crate) use pace::Kind;

/// What a request makes the server do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) kind: Kind,
    /// Positions that pass through the language model, over all iterations and images.
    pub(crate) cost: u64,
    /// Pixels that are drawn.
    pub(crate) pixels: u64,
}

impl Work {
    /// That of a request which has not been looked at yet.
    pub(crate) const UNKNOWN: Self = Self { kind: Kind::Answer, cost: 0, pixels: 0 };
}

/// What is asked of the gate.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) tenant: Tenant,
    pub(crate) priority: Priority,
    pub(crate) work: Work,
    pub(crate) deadline: Instant,
}

/// The gate. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// A lock and not a channel, because entering must see and change the queue at once. Held for a few map operations.
    state: Mutex<State>,
    /// Counts changes of the queue, so that those waiting learn their new position.
    changes: watch::Sender<u64>,
    metrics: AdmissionMetrics,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    tenants: Tenants,
}

/// A number at the gate, waiting or running; gives back whatever it holds when dropped.
#[derive(Debug)]
struct Holding {
    shared: Arc<Shared>,
    number: u64,
    tenant: Tenant,
}

/// A place in the queue; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    holding: Holding,
    turn: oneshot::Receiver<()>,
    since: Instant,
    queued: Raised,
}

/// The right to run; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    holding: Holding,
    _running: Raised,
}

impl Admission {
    pub(crate) fn new(config: &AdmissionConfig, tenants: &TenantsConfig, metrics: AdmissionMetrics) -> Self {
        let state = State { queue: Queue::new(config.clone(), Instant::now()), tenants: Tenants::new(tenants.clone()) };
        let shared = Shared { state: Mutex::new(state), changes: watch::Sender::new(0), metrics };
        Self { shared: Arc::new(shared) }
    }

    /// Refuses where the queue is full or the tenant's limits are reached, before anything is done for a request: decoding its
    /// images may take a second. Nothing of those limits is used up by it.
    ///
    /// # Errors
    /// As [`Admission::enter`].
    pub(crate) fn check_room(&self, ask: &Ask) -> Result<(), ApiError> {
        let now = Instant::now();
        let mut state = self.shared.state();
        state.queue.advance(now);
        if !state.queue.has_room(ask) {
            return Err(state.queue.full());
        }
        state.tenants.check(&ask.tenant, ask.work.pixels, now)
    }

    /// Joins the queue.
    ///
    /// # Errors
    /// `Overloaded` with the time after which to come back, when as many wait as may or the deadline would pass before
    /// the work were done; `QuotaExceeded` when the tenant has used up what it may use.
    pub(crate) fn enter(&self, ask: Ask) -> Result<Ticket, ApiError> {
        let now = Instant::now();
        let mut state = self.shared.state();
        state.queue.advance(now);
        if !state.queue.has_room(&ask) {
            return Err(state.queue.full());
        }
        if let Some(done_in) = state.queue.expected(&ask) {
            let left = ask.deadline.saturating_duration_since(now);
            if done_in > left {
                let retry_after = state.queue.clears_in();
                return Err(ApiError::Overloaded { reason: Reason::DeadlineUnmeetable, retry_after });
            }
        }
        state.tenants.take(&ask.tenant, ask.work.pixels, now)?;
        let (sender, turn) = oneshot::channel();
        let tenant = ask.tenant.clone();
        let number = state.queue.join(ask, sender);
        drop(state);
        self.shared.changed();
        let holding = Holding { shared: Arc::clone(&self.shared), number, tenant };
        // Whoever can run at once stands in the queue for a moment only.
        Ok(Ticket { holding, turn, since: now, queued: self.shared.metrics.queued() })
    }

    /// Requests that run and that wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.shared.state();
        (state.queue.n_running(), state.queue.n_waiting())
    }
}

impl Ticket {
    /// Waits for a place. `moved` is told the number of requests ahead, at first (unless there is a place at once) and
    /// whenever it changes. It must not wait: the place may come while it runs.
    pub(crate) async fn wait(self, mut moved: impl FnMut(u32)) -> Result<Place, ApiError> {
        let Self { holding, mut turn, since, queued } = self;
        let mut changes = holding.shared.changes.subscribe();
        let mut told = None;
        loop {
            tokio::select! {
                biased;
                granted = &mut turn => {
                    // The queue lives as long as we hold it, and drops a sender only behind its word.
                    granted.map_err(|_| ApiError::Fault(Reason::Bug))?;
                    drop(queued);
                    let running = holding.shared.metrics.running(since.elapsed());
                    return Ok(Place { holding, _running: running });
                }
                // Ready at once on the first turn, then whenever the queue has changed.
                _ = async { if told.is_some() { changes.changed().await.ok(); } } => {}
            }
            let position = holding.shared.state().queue.position(holding.number);
            if told != position {
                told = position;
                position.into_iter().for_each(&mut moved);
            }
        }
    }
}

impl Place {
    /// Whose work it is.
    pub(crate) fn tenant(&self) -> &Tenant {
        &self.holding.tenant
    }

    /// The work was done: how long it took is what others of its kind are judged by.
    pub(crate) fn done(self) {
        let mut state = self.holding.shared.state();
        state.queue.advance(Instant::now());
        state.queue.learn(self.holding.number);
    }
}

impl Shared {
    /// The state. A thread that panicked cannot have left it inconsistent: nothing in its changes panics.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let now = Instant::now();
        state.queue.advance(now);
        state.queue.leave(self.number);
        state.tenants.leave(&self.tenant);
        drop(state);
        self.shared.changed();
    }
}

/// The longest and the shortest time that anyone is told to stay away.
fn within_reason(wait: Duration) -> Duration {
    wait.clamp(Duration::from_secs(1), Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use unipic_telemetry::Metrics;

    use super::*;
    use crate::config::QuotaConfig;

    fn uncounted() -> AdmissionMetrics {
        AdmissionMetrics::new(&Metrics::default())
    }

    fn gate(max_running: usize, max_running_cost: u64, max_queued: usize) -> Admission {
        let config = AdmissionConfig { max_running, max_running_cost, max_queued };
        Admission::new(&config, &TenantsConfig::default(), uncounted())
    }

    fn ask(cost: u64) -> Ask {
        Ask {
            tenant: Tenant::default(),
            priority: Priority::Interactive,
            work: Work { kind: Kind::Image, cost, pixels: 0 },
            deadline: Instant::now() + Duration::from_secs(3600),
        }
    }

    /// Whether a ticket's turn has come; it is kept.
    fn has_turn(ticket: &mut Ticket) -> bool {
        ticket.turn.try_recv().is_ok()
    }

    #[tokio::test]
    async fn places_are_weighed_and_one_too_heavy_runs_alone() {
        let gate = gate(10, 100, 10);
        let mut small: Vec<_> = (0..2).map(|_| gate.enter(ask(40)).unwrap()).collect();
        assert!(small.iter_mut().all(has_turn));
        let (mut huge, mut last) = (gate.enter(ask(1000)).unwrap(), gate.enter(ask(1)).unwrap());
        assert!(!has_turn(&mut huge) && !has_turn(&mut last), "nobody passes one that waits");
        small.pop();
        assert!(!has_turn(&mut huge));
        small.pop();
        assert!(has_turn(&mut huge) && !has_turn(&mut last));
        drop(huge);
        assert!(has_turn(&mut last));
        drop(last);
        assert_eq!(gate.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_turn_nobody_took_passes_on() {
        let gate = gate(1, 100, 1);
        let (running, waiting) = (gate.enter(ask(1)).unwrap(), gate.enter(ask(1)).unwrap());
        for refused in [gate.enter(ask(1)).map(drop), gate.check_room(&ask(0))] {
            let Err(ApiError::Overloaded { reason: Reason::QueueFull, retry_after }) = refused else { panic!() };
            assert!(retry_after >= Duration::from_secs(1) && retry_after <= Duration::from_secs(60));
        }
        drop(running);
        let mut next = gate.enter(ask(1)).unwrap();
        // Its turn has come, but it leaves without having looked.
        drop(waiting);
        assert!(has_turn(&mut next));
        assert_eq!(gate.counts(), (1, 0));
    }

    #[tokio::test]
    async fn batch_waits_behind_interactive_without_starving() {
        let gate = gate(1, 100, 100);
        let running = gate.enter(ask(1)).unwrap();
        let mut crowd = Vec::new();
        for index in 0..14 {
            let priority = if index < 4 { Priority::Batch } else { Priority::Interactive };
            crowd.push((priority, gate.enter(Ask { priority, ..ask(1) }).unwrap()));
        }
        assert_eq!(gate.shared.state().queue.position(1), Some(10), "a batch request sees those who go first");
        drop(running);
        let mut order = String::new();
        while let Some(index) = crowd.iter_mut().position(|(_, ticket)| has_turn(ticket)) {
            let (priority, _served) = crowd.remove(index);
            order.push(if priority == Priority::Batch { 'b' } else { 'i' });
        }
        assert_eq!(order, "iiiibiiiibiibb");
    }

    #[tokio::test]
    async fn work_in_the_background_leaves_a_place_to_whoever_waits() {
        let gate = gate(3, 100, 10);
        let batch = || gate.enter(Ask { priority: Priority::Batch, ..ask(1) }).unwrap();
        let (mut first, mut second, mut third) = (batch(), batch(), batch());
        assert!(has_turn(&mut first) && has_turn(&mut second) && !has_turn(&mut third));
        // However many of those go before: a batch request whose turn it is, and for which there is no place, holds nobody up.
        for _ in 0..2 * queue::BEFORE_BATCH {
            let mut interactive = gate.enter(ask(1)).unwrap();
            assert!(has_turn(&mut interactive));
        }
        drop(first);
        assert!(has_turn(&mut third));
    }

    #[tokio::test]
    async fn tenants_take_turns_and_a_crowd_keeps_nobody_out() {
        let gate = gate(4, 100, 4);
        let of = |name: &str| gate.enter(Ask { tenant: Tenant::named(name), ..ask(1) });
        let mut crowd: Vec<_> = (0..8).map(|_| of("crowd").unwrap()).collect();
        assert!(of("crowd").is_err(), "four run, four wait");
        let mut quiet = of("quiet").unwrap();
        assert!(has_turn(&mut quiet), "a place beyond those of the crowd");
        let mut second = of("quiet").map(drop);
        assert!(second.is_err(), "for the first of a tenant's requests only");
        drop(quiet);
        assert_eq!(gate.counts(), (4, 4));
        let mut late = of("other").unwrap();
        assert!(has_turn(&mut late));
        // One place is all there is beyond; the next newcomer waits, in front of the crowd.
        let mut third = of("third").unwrap();
        assert!(!has_turn(&mut third));
        assert_eq!(gate.shared.state().queue.position(third.holding.number), Some(0));
        assert_eq!(gate.shared.state().queue.position(crowd[4].holding.number), Some(1));
        second = of("fourth").map(drop);
        assert!(second.is_err(), "the queue ends somewhere for all");
        crowd.remove(0);
        assert!(has_turn(&mut third));
    }

    #[tokio::test]
    async fn a_deadline_that_cannot_be_met_is_refused_with_its_own_reason() {
        let gate = gate(1, 1000, 10);
        let soon = |cost| Ask { deadline: Instant::now() + Duration::from_millis(20), ..ask(cost) };
        // Nothing is known of the pace yet.
        let place = gate.enter(soon(10)).unwrap().wait(|_| ()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        place.done();
        // 50 ms for a cost of 10.
        let refused = gate.enter(soon(10)).map(drop);
        let Err(ApiError::Overloaded { reason: Reason::DeadlineUnmeetable, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert!(gate.enter(soon(1)).is_ok());
        assert!(
            gate.enter(Ask { work: Work { kind: Kind::Answer, cost: 10, pixels: 0 }, ..soon(10) }).is_ok(),
            "another kind has another pace"
        );
        // Behind much work, what was possible is not.
        let ahead: Vec<_> = (0..5).map(|_| gate.enter(ask(1000)).unwrap()).collect();
        assert!(gate.enter(soon(1)).is_err());
        drop(ahead);
        assert_eq!(gate.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_tenant_has_its_own_limits_and_gets_back_what_it_holds() {
        let quota = QuotaConfig { max_concurrent: Some(2), ..QuotaConfig::default() };
        let tenants = TenantsConfig { default: quota, named: Default::default() };
        let gate = Admission::new(&AdmissionConfig::default(), &tenants, uncounted());
        let of = |name: &str| Ask { tenant: Tenant::named(name), ..ask(1) };
        let held: Vec<_> = (0..2).map(|_| gate.enter(of("a")).unwrap()).collect();
        let refused = gate.enter(of("a")).map(drop);
        let Err(ApiError::QuotaExceeded { subject, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(subject, "tenant:a");
        assert!(gate.enter(of("b")).is_ok());
        drop(held);
        assert!(gate.enter(of("a")).is_ok());
        assert_eq!(gate.counts(), (0, 0));
    }
}
