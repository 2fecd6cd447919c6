//! The machine's clock, as a simulation sees it: simulated too.
//!
//! tokio's clock is paused and turmoil moves it, but h2 asks the machine how long ago a stream was reset, and forgets it after
//! a second. So a run on a busy machine came out differently from one on an idle machine. Here the standard library's
//! monotonic clock stands where the simulation put it, for the simulation's own thread and nobody else: programs that link
//! this crate have its `clock_gettime` in the place of the C library's, which every [`std::time::Instant`] is read from.
//!
//! Dates of answers are read from the other clock, which stands there too: written out, one is longer than another, and so are
//! the messages that hold them. Only on Linux; elsewhere the machine's clocks go on, and a seed replays for as long as its run
//! is quick.

use std::cell::Cell;
use std::time::Duration;

/// Where a simulation's clock begins: not at zero, as callers look back from now.
const BEGIN: Duration = Duration::from_hours(24);

thread_local! {
    static NOW: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// A simulation's hold on its thread's clock, until it is dropped.
#[derive(Debug)]
pub(crate) struct Clock(());

impl Clock {
    /// Stops the clock.
    pub(crate) fn stop() -> Self {
        let clock = Self(());
        clock.set(Duration::ZERO);
        clock
    }

    /// Puts it where simulated time is.
    pub(crate) fn set(&self, elapsed: Duration) {
        NOW.set(Some(BEGIN + elapsed));
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        NOW.set(None);
    }
}

/// In the place of the C library's.
///
/// # Safety
/// As the C library's: `time` points to a `timespec` that may be written.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // A thread that ends has no clock of its own any more.
    let stopped = NOW
        .try_with(Cell::get)
        .ok()
        .flatten()
        .filter(|_| [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME].contains(&clock));
    let Some(now) = stopped else {
        // SAFETY: the kernel's own call, with the arguments that it takes.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as libc::c_int;
    };
    // SAFETY: the caller's pointer may be written.
    unsafe {
        (*time).tv_sec = now.as_secs() as libc::time_t;
        (*time).tv_nsec = now.subsec_nanos() as libc::c_long;
    }
    0
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::thread::{sleep, spawn};
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_stands_for_its_own_thread_until_it_is_let_go() {
        let (moment, clock) = (Duration::from_millis(2), Clock::stop());
        let began = Instant::now();
        sleep(moment);
        assert_eq!(began.elapsed(), Duration::ZERO);
        clock.set(Duration::from_secs(7));
        assert_eq!(began.elapsed(), Duration::from_secs(7));
        let elsewhere = move || {
            let began = Instant::now();
            sleep(moment);
            began.elapsed()
        };
        assert!(spawn(elsewhere).join().unwrap() >= moment);
        drop(clock);
        assert!(elsewhere() >= moment);
    }
}
