//! How many of something there are now.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::UpDownCounter;

/// A number that goes up and down with what it counts.
#[derive(Clone, Debug)]
pub struct Level {
    counter: UpDownCounter<i64>,
}

impl Level {
    pub(super) fn new(counter: UpDownCounter<i64>) -> Self {
        Self { counter }
    }

    /// Counts `change` more, or fewer; zero shows the labels before anything was counted.
    pub fn add(&self, change: i64, labels: &[KeyValue]) {
        self.counter.add(change, labels);
    }

    /// Counts one more until the guard is dropped.
    pub fn raise(&self, labels: &[KeyValue]) -> Raised {
        self.raise_by(1, labels)
    }

    /// Counts `amount` more until the guard is dropped.
    pub fn raise_by(&self, amount: u64, labels: &[KeyValue]) -> Raised {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        self.counter.add(amount, labels);
        Raised { counter: self.counter.clone(), amount, labels: labels.into() }
    }
}

/// Something that is counted while it lives.
#[derive(Debug)]
#[must_use = "what is dropped is counted no longer"]
pub struct Raised {
    counter: UpDownCounter<i64>,
    amount: i64,
    labels: Arc<[KeyValue]>,
}

impl Raised {
    /// Counts `amount` from now on, in place of what was counted.
    pub fn set(&mut self, amount: u64) {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        if amount != self.amount {
            self.counter.add(amount - self.amount, &self.labels);
            self.amount = amount;
        }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.counter.add(-self.amount, &self.labels);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Metrics, TelemetryConfig};

    #[test]
    fn a_level_falls_however_its_guard_ends() {
        let metrics = Metrics::new(&TelemetryConfig::for_service("test")).unwrap();
        let level = metrics.level("unipic.open", "Open things.");
        level.add(0, &[]);
        assert!(metrics.render().contains("unipic_open 0"));
        let (one, many) = (level.raise(&[]), level.raise_by(4, &[]));
        assert!(metrics.render().contains("unipic_open 5"));
        drop(many);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = one;
            panic!("as intended");
        }));
        assert!(panicked.is_err());
        assert!(metrics.render().contains("unipic_open 0"), "{}", metrics.render());
    }
}
