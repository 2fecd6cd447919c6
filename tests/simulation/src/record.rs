//! What happened in a simulation, in order, and what should not have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::invariant::{Invariant, Violation};

/// One simulation, from its seed to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// What it was drawn from.
    pub seed: u64,
    /// Every fault and every end of a request, with its simulated time. The same seed gives the same trace.
    pub trace: Vec<String>,
    /// Invariants that did not hold.
    pub violations: Vec<Violation>,
    /// How often each kind of fault was made.
    pub faults: BTreeMap<&'static str, usize>,
    /// How requests ended, by what was asked and the outcome in a word.
    pub outcomes: BTreeMap<(&'static str, String), usize>,
    /// Times that work was made good within a request.
    pub resumed: usize,
    /// Simulated time from the last repair to the last client's first good answer.
    pub recovery: Duration,
    /// Simulated time in all.
    pub lasted: Duration,
}

/// Where a running simulation writes. Clones write into the same run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Arc<Mutex<Run>>);

impl Record {
    pub(crate) fn of(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Run { seed, ..Run::default() })))
    }

    /// Changes the run; nothing in a change can leave it half done.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Run) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn event(&self, at: Duration, what: &str) {
        let line = format!("{:8.3} {what}", at.as_secs_f64());
        self.with(|run| run.trace.push(line));
    }

    pub(crate) fn violation(&self, at: Duration, invariant: Invariant, what: &str) {
        let violation = Violation { at, invariant, what: what.to_owned() };
        self.with(|run| run.violations.push(violation));
    }

    pub(crate) fn finish(self) -> Run {
        self.with(std::mem::take)
    }
}
