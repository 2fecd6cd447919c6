//! One thread that owns a device, and the bounded queues through which async code hands it work.
//!
//! A device runs one thing at a time, and model code blocks: it must not run on the threads that serve connections. So
//! one OS thread owns every worker of a device, takes jobs that may share a pass as one batch, and answers each on its
//! own channel. Async code never touches a tensor operation, and a request that was cancelled, came too late or was
//! abandoned by its caller is dropped before anything is computed for it.
//!
//! Several workers can live on one thread; that is how the single-process node shares one device between its services.
//! They take turns batch by batch, so none of them waits for another's whole request.
//!
//! So do tenants, whose names are all that is known of them: whoever has had least of the device goes first, over all
//! workers, and brings along only so much of the others' work as hardly slows it down. With one tenant nothing of this is
//! felt: the oldest job goes first and batches are filled.
//!
//! A job may go on: a worker answers it with what is to be computed next ([`Follow`]). A loop over the device, such as a
//! diffusion head's steps, then forms its batches anew at every turn and costs no way to its caller and back.
//!
//! This crate is generic on purpose: it knows neither tensors nor the network. A blocking pool (`spawn_blocking`) was
//! rejected: it has no order, no batches and no bound on what waits.
//!
//! Invariants: what waits is bounded per worker; a job that was accepted is answered exactly once; a worker that panics
//! answers its batch with a fault and the thread lives on; a batch that the device has no memory for is tried in halves;
//! the thread ends, and is joined, with the last handle.

mod batch;
mod clock;
mod engine;
mod job;
mod lane;
mod ledger;
mod observer;
mod pace;
mod queue;
mod seat;
mod turns;

pub use clock::Clock;
pub use engine::{Engine, EngineConfig};
pub use job::{Computed, Done, EngineError, Exhausted, Follow, JobContext, JobError, Worker};
pub use lane::Lane;
pub use observer::{BatchReport, Observer, Outcome};
