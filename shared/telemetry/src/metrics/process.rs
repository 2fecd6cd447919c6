//! What the operating system knows of this process, and which build and weights it runs.
//!
//! Read when metrics are read, from `/proc`; where there is none, these metrics are simply absent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;

use super::Metrics;

/// The weights' hash, known once they are loaded.
#[derive(Debug, Default)]
pub(super) struct Build {
    // A plain lock: it is held for a copy of a short text.
    weights: Mutex<Option<Arc<str>>>,
}

impl Build {
    pub(super) fn set_weights(&self, sha256: &str) {
        *self.lock() = Some(sha256.into());
    }

    /// None before the hash is known: with two readers, the SDK would tell an empty one once more beside it.
    fn labels(&self) -> Option<[KeyValue; 2]> {
        let weights = opentelemetry::StringValue::from(self.lock().clone()?);
        Some([KeyValue::new("version", env!("CARGO_PKG_VERSION")), KeyValue::new("weights_sha256", weights)])
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the process's own metrics.
pub(super) fn observe(metrics: &Metrics) {
    let (meter, build) = (&metrics.meter, Arc::clone(&metrics.build));
    meter
        .u64_observable_gauge("unipic.build_info")
        .with_description("Always 1; the labels say which version and which weights run.")
        .with_callback(move |told| build.labels().into_iter().for_each(|labels| told.observe(1, &labels)))
        .build();
    meter
        .u64_observable_gauge("unipic.process.resident_memory")
        .with_description("Memory of the process that lies in RAM.")
        .with_unit("By")
        .with_callback(|told| resident_bytes().into_iter().for_each(|bytes| told.observe(bytes, &[])))
        .build();
    meter
        .u64_observable_gauge("unipic.process.open_fds")
        .with_description("File descriptors that the process holds open.")
        .with_callback(|told| open_fds().into_iter().for_each(|n| told.observe(n, &[])))
        .build();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    meter
        .f64_observable_gauge("unipic.process.start_time")
        .with_description("When the process set up its metrics, since 1970.")
        .with_unit("s")
        .with_callback(move |told| told.observe(started, &[]))
        .build();
}

/// `VmRSS` of `/proc/self/status`, in bytes.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

fn open_fds() -> Option<u64> {
    // The folder that is being read is open too, and not the process's own doing.
    Some((std::fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
}
