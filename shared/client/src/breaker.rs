//! When a replica that broke a call is called again.
//!
//! A circuit breaker, as a value that is told the time: closed while calls work; open for a pause after one breaks; then
//! one call, and only one, finds out whether the replica is back. The pause grows with every such call that breaks too,
//! and is cut by a random part, so that many clients of a replica that returns do not meet there.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first break. It doubles with each further one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: State,
    /// Breaks since a call last worked; what breaks at the same time counts once.
    breaks: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    /// The one call that finds out is under way.
    Probing,
}

impl Breaker {
    /// Whether a call may be made at `now`.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } => until <= now,
            State::Probing => false,
        }
    }

    /// Time until a call may be made, as far as it is known: a probe under way may end at any moment.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        match self.state {
            State::Closed => Duration::ZERO,
            State::Open { until } => until.saturating_duration_since(now),
            State::Probing => FIRST_PAUSE,
        }
    }

    /// Notes that a call is made, which [`Breaker::allows`] allowed. True when it is the probe.
    pub(crate) fn begin(&mut self) -> bool {
        let is_probe = matches!(self.state, State::Open { .. });
        if is_probe {
            self.state = State::Probing;
        }
        is_probe
    }

    /// The replica answered: whatever was wrong is over.
    pub(crate) fn worked(&mut self) {
        *self = Self::default();
    }

    /// A call broke. Calls that were under way when the first one broke tell nothing new.
    pub(crate) fn broke(&mut self, is_probe: bool, now: Instant) {
        if is_probe || matches!(self.state, State::Closed) {
            let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.breaks)).min(LONGEST_PAUSE);
            self.breaks = self.breaks.saturating_add(1);
            self.state = State::Open { until: now + pause.mul_f64(0.5 + 0.5 * fastrand::f64()) };
        }
    }

    /// The probe was dropped before it found anything out: the next call may.
    pub(crate) fn abandoned(&mut self, now: Instant) {
        if matches!(self.state, State::Probing) {
            self.state = State::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_at_a_time_probes_a_broken_replica() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert!(breaker.allows(now) && !breaker.begin());
        breaker.broke(false, now);
        assert!(!breaker.allows(now) && breaker.wait(now) > Duration::ZERO);
        let later = now + FIRST_PAUSE;
        assert!(breaker.allows(later) && breaker.begin());
        assert!(!breaker.allows(later + LONGEST_PAUSE), "the probe is under way");
        breaker.abandoned(later);
        assert!(breaker.allows(later) && breaker.begin());
        breaker.worked();
        assert!(breaker.allows(later) && !breaker.begin());
    }

    #[test]
    fn the_pause_grows_with_every_probe_that_breaks_and_has_an_end() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        breaker.broke(false, now);
        for _ in 0..20 {
            breaker.broke(false, now);
        }
        assert!(breaker.wait(now) <= FIRST_PAUSE, "what breaks at the same time counts once");
        let mut pauses = Vec::new();
        for _ in 0..10 {
            now += breaker.wait(now);
            assert!(breaker.begin());
            breaker.broke(true, now);
            pauses.push(breaker.wait(now));
        }
        // Half of each pause is random, and each is twice the one before.
        assert!(pauses[..5].is_sorted(), "{pauses:?}");
        assert!(pauses[9] >= LONGEST_PAUSE / 2 && pauses[9] <= LONGEST_PAUSE, "{pauses:?}");
    }
}
