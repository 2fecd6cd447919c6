//! How fast work is done, by kind, as measured of late.
//!
//! Requests that run at the same time share the devices, so what a request took is counted in shares: of a second in
//! which n requests ran, each had an n-th. That makes the pace of a busy server that of an idle one, and the time that
//! work takes its share times the number of those who run.

use std::time::Duration;

use tokio::time::Instant;

/// How much one more finished request moves the pace.
const SMOOTHING: f64 = 0.3;

/// A pace that nothing has confirmed for so long is not known any more. Without this, one slow start would have requests
/// refused for ever, since those refused cannot show that it was an exception.
const TRUST: Duration = Duration::from_secs(60);

/// What is done for a request. Equal costs of different kinds take different times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Drawing or editing.
    Image,
    /// Answering a question.
    Answer,
    /// Encoding an image.
    Embed,
}

/// The paces of all kinds.
#[derive(Debug, Default)]
pub(super) struct Paces([Option<Pace>; 3]);

#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Seconds of the whole server for a unit of cost.
    seconds: f64,
    at: Instant,
}

impl Paces {
    /// Notes that work took so many seconds of the whole server.
    pub(super) fn learn(&mut self, kind: Kind, cost: u64, seconds: f64, now: Instant) {
        let sample = seconds / cost.max(1) as f64;
        let pace = &mut self.0[kind as usize];
        let before = pace.filter(|pace| pace.is_fresh(now)).map_or(sample, |pace| pace.seconds);
        *pace = Some(Pace { seconds: before + SMOOTHING * (sample - before), at: now });
    }

    /// Seconds of the whole server that work will take, where the pace is known.
    pub(super) fn seconds(&self, kind: Kind, cost: u64, now: Instant) -> Option<f64> {
        self.0[kind as usize].filter(|pace| pace.is_fresh(now)).map(|pace| pace.seconds * cost as f64)
    }
}

impl Pace {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < TRUST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_follows_what_is_measured_and_is_forgotten() {
        let (mut paces, now) = (Paces::default(), Instant::now());
        assert_eq!(paces.seconds(Kind::Image, 10, now), None);
        paces.learn(Kind::Image, 100, 1.0, now);
        assert!((paces.seconds(Kind::Image, 10, now).unwrap() - 0.1).abs() < 1e-9);
        assert_eq!(paces.seconds(Kind::Answer, 10, now), None);
        for _ in 0..50 {
            paces.learn(Kind::Image, 100, 2.0, now);
        }
        assert!((paces.seconds(Kind::Image, 10, now).unwrap() - 0.2).abs() < 1e-3);
        assert_eq!(paces.seconds(Kind::Image, 10, now + TRUST), None);
        paces.learn(Kind::Image, 100, 1.0, now + TRUST);
        assert!((paces.seconds(Kind::Image, 10, now + TRUST).unwrap() - 0.1).abs() < 1e-9, "it starts anew");
    }
}
