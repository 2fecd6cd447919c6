//! The child process: limits first, then the pickle.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::archive;
use super::index::Answer;

/// The first argument by which a program knows that it is the child.
pub(super) const COMMAND: &str = "__read-pickle";
/// Memory beyond what the program has mapped at its start, in bytes.
const MEMORY: u64 = 512 << 20;
/// Stack, in bytes.
const STACK: u64 = 2 << 20;
/// Processor time, in seconds.
const SECONDS: u64 = 60;

static CALLED: AtomicBool = AtomicBool::new(false);

/// Whether this program's `main` asks [`child_main`], so that it can be its own child.
pub(super) fn is_wired() -> bool {
    CALLED.load(Ordering::Relaxed)
}

/// Does the child's work if this process is one, and tells its exit code. To be called first in `main`, before any
/// thread and any argument parsing; `None` means to go on.
pub fn child_main() -> Option<ExitCode> {
    CALLED.store(true, Ordering::Relaxed);
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    let path = arguments.next()?;
    let key = arguments.next().and_then(|key| key.into_string().ok());
    let answer = match limit().and_then(|()| archive::read(Path::new(&path), key.as_deref())) {
        Ok(tensors) => Answer::Tensors(tensors),
        Err(why) => Answer::Refused(why),
    };
    let written = serde_json::to_vec(&answer).map(|json| std::io::stdout().write_all(&json));
    Some(if matches!(written, Ok(Ok(()))) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Limits this process for good. Address space is counted from what is mapped already: a GPU build maps gigabytes of
/// libraries before `main`.
fn limit() -> Result<(), String> {
    let set = |resource, value| {
        setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
            .map_err(|e| format!("the limits of the reading process cannot be set: {e}"))
    };
    set(Resource::Core, 0)?;
    set(Resource::Fsize, 0)?;
    set(Resource::Cpu, SECONDS)?;
    set(Resource::Stack, STACK)?;
    set(Resource::As, mapped_bytes().unwrap_or(0) + MEMORY)
}

/// Address space in use, in bytes, where the system tells it.
fn mapped_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
