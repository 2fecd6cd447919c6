//! What time it is for an engine.

use std::time::Instant;

/// Tells the time by which jobs are found to have waited and passes to have taken. Tests have one that their workers move.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Instant;
}

/// The system's.
pub(crate) struct System;

impl Clock for System {
    fn now(&self) -> Instant {
        Instant::now()
    }
}
