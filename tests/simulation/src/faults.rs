//! What breaks, and how it is mended.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use turmoil::Sim;

use crate::world::Processes;

/// A fault from its beginning to its end.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A process is killed, and started again at the end.
    Crash(String),
    /// A process is told to stop, drains, and is started again at the end.
    Stop(String),
    /// Messages between two hosts are lost.
    Cut(String, String),
    /// Messages from one host to another are lost; answers would come through.
    CutOneWay(String, String),
    /// Messages between two hosts wait until the end.
    Hold(String, String),
    /// Messages between two hosts take so long.
    Slow(String, String, Duration),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(host) => write!(f, "crash {host}"),
            Self::Stop(host) => write!(f, "stop {host}"),
            Self::Cut(a, b) => write!(f, "cut {a} {b}"),
            Self::CutOneWay(a, b) => write!(f, "cut {a} -> {b}"),
            Self::Hold(a, b) => write!(f, "hold {a} {b}"),
            Self::Slow(a, b, latency) => write!(f, "slow {a} {b} {} ms", latency.as_millis()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Fault {
    /// A fault of a host or of a link.
    pub(crate) fn draw(rng: &mut Rng, (from, to): (Duration, Duration), host: String, link: (String, String)) -> Self {
        let (a, b) = link;
        let kind = match rng.u32(..8) {
            0 | 1 => Kind::Crash(host),
            2 => Kind::Stop(host),
            3 => Kind::Cut(a, b),
            4 => Kind::CutOneWay(a, b),
            5 => Kind::CutOneWay(b, a),
            6 => Kind::Hold(a, b),
            _ => Kind::Slow(a, b, Duration::from_millis(rng.u64(50..800))),
        };
        Self { from, to, kind }
    }

    /// What kind it is, in a word.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Crash(_) => "crash",
            Kind::Stop(_) => "stop",
            Kind::Cut(..) => "cut",
            Kind::CutOneWay(..) => "one-way cut",
            Kind::Hold(..) => "hold",
            Kind::Slow(..) => "slow",
        }
    }

    /// True for a fault that sets what this link's messages take.
    pub(crate) fn slows(&self, link: &(String, String)) -> bool {
        matches!(&self.kind, Kind::Slow(a, b, _) if (a, b) == (&link.0, &link.1))
    }

    /// True when both are of the same process or link at the same time.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.target() == other.target() && self.from <= other.to && other.from <= self.to
    }

    fn target(&self) -> (String, String) {
        match &self.kind {
            Kind::Crash(host) | Kind::Stop(host) => (host.clone(), String::new()),
            Kind::Cut(a, b) | Kind::CutOneWay(a, b) | Kind::Hold(a, b) | Kind::Slow(a, b, _) => {
                (a.clone().min(b.clone()), a.clone().max(b.clone()))
            }
        }
    }

    /// Breaks it.
    pub(crate) fn begin(&self, sim: &mut Sim<'_>, processes: &Processes) {
        match &self.kind {
            Kind::Crash(host) => sim.crash(host.as_str()),
            Kind::Stop(host) => processes.stop(host),
            Kind::Cut(a, b) => sim.partition(a.as_str(), b.as_str()),
            Kind::CutOneWay(a, b) => sim.partition_oneway(a.as_str(), b.as_str()),
            Kind::Hold(a, b) => sim.hold(a.as_str(), b.as_str()),
            Kind::Slow(a, b, latency) => sim.set_link_latency(a.as_str(), b.as_str(), *latency),
        }
    }

    /// Mends it. `latency` is what a link's messages take from then on.
    pub(crate) fn end(&self, sim: &mut Sim<'_>, latency: Duration) {
        match &self.kind {
            // What has not drained by now is killed.
            Kind::Crash(host) | Kind::Stop(host) => sim.bounce(host.as_str()),
            Kind::Cut(a, b) => sim.repair(a.as_str(), b.as_str()),
            Kind::CutOneWay(a, b) => sim.repair_oneway(a.as_str(), b.as_str()),
            Kind::Hold(a, b) => sim.release(a.as_str(), b.as_str()),
            Kind::Slow(a, b, _) => sim.set_link_latency(a.as_str(), b.as_str(), latency),
        }
    }
}
