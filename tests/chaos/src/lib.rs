//! The shipped binaries under load and under fire, and one report of what came of it.
//!
//! `faults` kills, stops and freezes processes by a seeded schedule and accounts for every request: it may end with its
//! images or its answer, or with a status that says what to do. Anything else is a miss: an image of other bytes than its
//! seed makes, something delivered twice, a stream without an end, a status that blames nobody. It also measures how long
//! each fault was felt. The other runs measure one node: throughput, neighbours, overload, slow and hasty peers, a collector
//! that is no help, a soak; `simulate` runs the network code over a simulated network, seed by seed; and `checks` runs the
//! tests that the scorecard names and gathers what they measured. Each writes its section of `REPORT.md`
//! with its goals and its misses; short runs of `faults` and the others are tests, which hold no figure of speed.

mod account;
mod ask;
mod checks;
mod collector;
mod collectors;
mod faults;
mod load;
mod neighbours;
mod node;
mod overload;
mod peers;
mod random;
mod recovery;
pub mod scorecard;
mod section;
mod simulation;
mod soak;
mod sockets;
mod throughput;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use integration::processes::{Cluster, Sizes};

pub use account::{Account, Outcome};
pub use checks::checks;
pub use collector::collector;
pub use faults::{Fault, Kind};
use load::Load;
pub use neighbours::neighbours;
pub use overload::overload;
pub use peers::peers;
pub use random::random;
pub use section::{Section, percentile};
pub use simulation::{Seeds, simulation};
pub use soak::soak;
pub use throughput::throughput;

/// How the runs on one node are made.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    /// Folder of the binaries.
    pub binaries: &'a Path,
    /// Takes configurations and logs.
    pub dir: &'a Path,
    /// `nano`, or the folder of a checkpoint.
    pub model: String,
    /// Share of the requests and seconds of a full run.
    pub scale: f64,
    /// How long a soak lasts, where it is said.
    pub lasting: Option<Duration>,
}

impl Runs<'_> {
    /// So many requests or seconds of a full run, at this run's scale; at least one.
    pub(crate) fn scaled(&self, n: usize) -> usize {
        ((n as f64 * self.scale).round() as usize).max(1)
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long faults are made; requests under way then are waited for.
    pub duration: Duration,
    /// Faults go on until so many requests have been made, however long it takes.
    pub requests: usize,
    /// Seed of the schedule and of the requests.
    pub seed: u64,
    /// Clients that ask one thing after another.
    pub clients: usize,
    /// `nano`, or the folder of a checkpoint.
    pub model: String,
    /// Processes of each service.
    pub sizes: Sizes,
}

impl Default for Plan {
    fn default() -> Self {
        let sizes = Sizes { gateways: 2, understanding: 2, synthesis: 2, decoders: 3 };
        Self { duration: Duration::from_secs(60), requests: 0, seed: 1, clients: 4, model: "nano".into(), sizes }
    }
}

/// Starts the processes from the binaries in `binaries`, runs the plan, and accounts for it. `dir` takes their
/// configurations and logs.
///
/// # Errors
/// When the processes cannot be run or do not come back, or a request without any fault fails.
pub async fn run(binaries: &Path, dir: &Path, plan: &Plan) -> anyhow::Result<Account> {
    let mut cluster = Cluster::start(binaries, dir, plan.sizes, &plan.model, "").await?;
    let load = Arc::new(Load::new(&cluster, plan.seed).await?);
    let (is_over, n_asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..plan.clients as u64)
        .map(|client| {
            let (load, is_over, n_asked) = (Arc::clone(&load), Arc::clone(&is_over), Arc::clone(&n_asked));
            tokio::spawn(async move { load.ask_on(client, (&is_over, &n_asked)).await })
        })
        .collect();
    let faults = faults::make(&mut cluster, plan, &n_asked).await;
    is_over.store(true, Ordering::Relaxed);
    let mut account = Account::new(plan);
    for client in clients {
        account.take(client.await?);
    }
    account.faults = faults?;
    Ok(account)
}
