//! Lines of the log that anybody can cause: a log is a disk.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often one kind of line is written at most.
const EVERY: Duration = Duration::from_secs(1);

/// Counts what happens between two lines about it.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    untold: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Seldom {
    /// Notes that it happened. When a line is due: how often it happened before without one.
    pub(crate) fn due(&self) -> Option<u64> {
        let further = self.untold.fetch_add(1, Ordering::Relaxed);
        // Whoever holds the lock is telling.
        let mut told = self.told.try_lock().ok()?;
        if told.is_some_and(|told| told.elapsed() < EVERY) {
            return None;
        }
        *told = Some(Instant::now());
        self.untold.store(0, Ordering::Relaxed);
        Some(further)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line() {
        let seldom = Seldom::default();
        assert_eq!(seldom.due(), Some(0));
        assert!((0..1000).all(|_| seldom.due().is_none()));
        *seldom.told.lock().unwrap() = None;
        assert_eq!(seldom.due(), Some(1000));
    }
}
