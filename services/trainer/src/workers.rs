//! Threads that each compute whole micro-batches.
//!
//! A small model's operations are too short to be shared among threads, and much of a step (sums of gradients, copies) runs
//! on one thread whatever is done. So every worker is a pool of one thread, in which nested parallel loops run in place,
//! and takes the next micro-batch when it has done one. Results come back in the order of the micro-batches, so sums do not
//! depend on the number of workers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::TrainError;

/// Walking a deep graph backwards recurses.
const STACK_BYTES: usize = 256 << 20;

/// The threads.
pub(crate) struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// So many threads.
    pub(crate) fn new(n: usize) -> Result<Self, TrainError> {
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).stack_size(STACK_BYTES).build();
        let pools = (0..n.max(1)).map(pool).collect::<Result<_, _>>();
        Ok(Self { pools: pools.map_err(|e| TrainError::Data(format!("no threads: {e}")))? })
    }

    /// `job` of 0, 1, … below `n`, in this order.
    pub(crate) fn map<T: Send>(
        &self,
        n: usize,
        job: impl Fn(usize) -> Result<T, TrainError> + Sync,
    ) -> Result<Vec<T>, TrainError> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Result<T, TrainError>)>> = Mutex::new(Vec::with_capacity(n));
        let work = || {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= n {
                    return;
                }
                let result = job(i);
                done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((i, result));
            }
        };
        std::thread::scope(|scope| {
            for pool in &self.pools {
                scope.spawn(|| pool.install(work));
            }
        });
        let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        done.sort_by_key(|(i, _)| *i);
        done.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        for n_threads in [1, 2, 5] {
            let squares = Workers::new(n_threads).unwrap().map(17, |i| Ok(i * i)).unwrap();
            assert_eq!(squares, (0..17).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_failure_in_order_is_told() {
        let result = Workers::new(2).unwrap().map(5, |i| match i {
            0 | 1 => Ok(i),
            _ => Err(TrainError::Data(format!("{i}"))),
        });
        assert!(matches!(result, Err(TrainError::Data(i)) if i == "2"));
    }
}
