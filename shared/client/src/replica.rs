//! One replica: its channel, the calls under way at it, and what is known of its condition.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::transport::Channel;
use unipic_api::{ApiError, Reason};

use crate::breaker::Breaker;
use crate::endpoint::{Endpoint, Reach};
use crate::health;
use crate::secure::LastRefusal;
use crate::transport::status_of;

/// How long a replica that said it is loading or stopping is passed over, where its health service says nothing newer.
const REST: Duration = Duration::from_secs(1);

/// What a replica's health service says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Health {
    /// Nothing, yet or at all: calls find out.
    #[default]
    Unknown,
    /// It takes calls.
    Serving,
    /// It loads or stops.
    NotServing,
    /// It cannot be asked.
    Unreachable,
}

/// What a replica is to calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is called.
    Well,
    /// It loads, stops or cannot be asked how it is: called where none is well.
    Unwell,
    /// It broke its last call, and is not called for a while.
    Open,
}

impl State {
    pub(crate) const ALL: [Self; 3] = [Self::Well, Self::Unwell, Self::Open];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Unwell => "unwell",
            Self::Open => "open",
        }
    }
}

/// A server behind a service.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) channel: Channel,
    refusal: Arc<LastRefusal>,
    load: AtomicUsize,
    condition: Arc<Condition>,
    _watch: AbortOnDropHandle<()>,
}

/// What is known of a replica, from its health service and from calls.
#[derive(Debug, Default)]
pub(crate) struct Condition(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    health: Health,
    breaker: Breaker,
    /// It refused a call as too early or too late.
    rests_until: Option<Instant>,
}

impl Condition {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is one assignment, so a panic elsewhere left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the word of the health service. One that serves has answered: no call need find that out.
    pub(crate) fn says(&self, health: Health) {
        let mut known = self.known();
        known.health = health;
        if health == Health::Serving {
            known.breaker.worked();
            known.rests_until = None;
        }
    }
}

impl Replica {
    /// A replica whose health is watched until it is dropped.
    pub(crate) fn new(endpoint: &Endpoint, reach: &Reach) -> Self {
        let (refusal, condition) = (Arc::default(), Arc::new(Condition::default()));
        let channel = endpoint.channel(reach, &refusal);
        let watch = health::follow(channel.clone(), Arc::clone(&condition));
        let watch = AbortOnDropHandle::new(tokio::spawn(watch));
        Self { channel, refusal, load: AtomicUsize::new(0), condition, _watch: watch }
    }

    /// Why its last handshake failed, where it did.
    pub(crate) fn refusal(&self) -> Option<Reason> {
        self.refusal.reason()
    }

    /// Calls under way.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// True for one that is there, takes calls and did not break the last.
    pub(crate) fn is_well(&self, now: Instant) -> bool {
        let known = self.condition.known();
        let is_there = matches!(known.health, Health::Unknown | Health::Serving);
        is_there && known.rests_until.is_none_or(|until| until <= now) && known.breaker.allows(now)
    }

    /// What is known of it in a word.
    pub(crate) fn state(&self, now: Instant) -> State {
        match (self.is_well(now), self.is_possible(now)) {
            (true, _) => State::Well,
            (false, true) => State::Unwell,
            (false, false) => State::Open,
        }
    }

    /// True for one that may be called where there is no better.
    pub(crate) fn is_possible(&self, now: Instant) -> bool {
        self.condition.known().breaker.allows(now)
    }

    /// Time until it may be called.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.condition.known().breaker.wait(now)
    }

    #[cfg(test)]
    pub(crate) fn condition(&self) -> &Condition {
        &self.condition
    }
}

/// A call under way at a replica; over when dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    replica: Arc<Replica>,
    is_probe: bool,
    is_settled: AtomicBool,
}

impl InFlight {
    /// Begins a call, unless another one is finding out whether the replica is back.
    pub(crate) fn begin(replica: &Arc<Replica>, now: Instant) -> Option<Self> {
        let mut known = replica.condition.known();
        let is_probe = known.breaker.allows(now).then(|| known.breaker.begin())?;
        drop(known);
        replica.load.fetch_add(1, Ordering::Relaxed);
        Some(Self { replica: Arc::clone(replica), is_probe, is_settled: AtomicBool::new(false) })
    }

    /// The replica answered, whatever it said.
    pub(crate) fn worked(&self) {
        self.is_settled.store(true, Ordering::Relaxed);
        self.replica.condition.known().breaker.worked();
    }

    /// The replica answered that it is loading or stopping.
    pub(crate) fn refused(&self) {
        self.worked();
        self.replica.condition.known().rests_until = Some(Instant::now() + REST);
    }

    /// The replica broke the call.
    pub(crate) fn broke(&self) {
        let is_probe = self.is_probe && !self.is_settled.swap(true, Ordering::Relaxed);
        self.replica.condition.known().breaker.broke(is_probe, Instant::now());
    }

    /// The status of a call that came to nothing: why the handshake failed where it did, else what broke.
    pub(crate) fn status(&self, error: tonic::transport::Error) -> Status {
        match self.replica.refusal() {
            Some(reason) => ApiError::unavailable(reason).into(),
            None => status_of(error.into()),
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.replica.channel.clone()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.is_probe && !self.is_settled.load(Ordering::Relaxed) {
            self.replica.condition.known().breaker.abandoned(Instant::now());
        }
        self.replica.load.fetch_sub(1, Ordering::Relaxed);
    }
}
