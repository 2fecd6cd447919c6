//! Processes of the shipped binaries under load, killed, stopped and frozen by a seeded schedule, and an account of what
//! became of every request.
//!
//! A request may end with its images or its answer, or with a status that says what to do. Anything else is a miss: an
//! image of other bytes than its seed makes, something delivered twice, a stream without an end, a status that blames
//! nobody. `cargo run -p unipic-chaos -- --minutes 10` writes `REPORT.md`; a short run is a test.

mod account;
mod faults;
mod load;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use integration::processes::{Cluster, Sizes};

pub use account::{Account, Outcome};
pub use faults::{Fault, Kind};
use load::Load;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long faults are made; requests under way then are waited for.
    pub duration: Duration,
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
        Self { duration: Duration::from_secs(60), seed: 1, clients: 4, model: "nano".into(), sizes }
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
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..plan.clients as u64)
        .map(|client| {
            let (load, is_over) = (Arc::clone(&load), Arc::clone(&is_over));
            tokio::spawn(async move { load.ask_on(client, &is_over).await })
        })
        .collect();
    let faults = faults::make(&mut cluster, plan).await;
    is_over.store(true, Ordering::Relaxed);
    let mut account = Account::new(plan);
    for client in clients {
        account.take(client.await?);
    }
    account.faults = faults?;
    Ok(account)
}
