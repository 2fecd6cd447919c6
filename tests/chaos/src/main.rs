//! `cargo run -p unipic-chaos -- --minutes 10`: a long run, and its report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use integration::processes::binary;
use unipic_chaos::{Plan, run};

/// Runs the processes under load and faults, and writes what became of every request.
#[derive(Debug, Parser)]
struct Args {
    /// How long faults are made.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Seed of the schedule and of the requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Clients that ask one thing after another.
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// `nano`, or the folder of a checkpoint.
    #[arg(long, default_value = "nano")]
    model: String,
    /// Folder of the binaries; they are built where it is left out.
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let binaries = match args.binaries {
        Some(folder) => folder,
        None => binary("unipic-gateway")?.parent().context("a binary lies in a folder")?.to_owned(),
    };
    let plan = Plan {
        duration: Duration::from_secs_f64(args.minutes * 60.0),
        seed: args.seed,
        clients: args.clients,
        model: args.model,
        ..Plan::default()
    };
    let dir = tempfile::tempdir()?;
    let account = run(&binaries, dir.path(), &plan).await?;
    let report = account.report();
    let path = args.report.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("REPORT.md"));
    std::fs::write(&path, &report).with_context(|| format!("write {}", path.display()))?;
    println!("{report}");
    anyhow::ensure!(account.misses().is_empty(), "{} misses", account.misses().len());
    Ok(())
}
