//! `cargo run -p unipic-chaos -- faults`: a long run of one kind, and its section of the report.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use integration::processes::binary;
use unipic_chaos::{
    Plan, Runs, Section, Seeds, checks, collector, neighbours, overload, peers, random, run, scorecard, simulation,
    soak, throughput,
};

/// Runs the shipped binaries under load and faults, and writes what was found into the report.
#[derive(Debug, Parser)]
struct Args {
    /// `nano`, or the folder of a checkpoint.
    #[arg(long, global = true, default_value = "nano")]
    model: String,
    /// Folder of the binaries; they are built as this program was where it is left out.
    #[arg(long, global = true)]
    binaries: Option<PathBuf>,
    /// Where the report is; sections of other runs stay as they are.
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/REPORT.md"))]
    report: PathBuf,
    /// Share of the requests or seconds of a full run.
    #[arg(long, global = true, default_value_t = 1.0)]
    scale: f64,
    /// What is run.
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Processes of all services are killed, restarted and frozen; every request is accounted for.
    Faults {
        /// How long faults are made at least.
        #[arg(long, default_value_t = 5.0)]
        minutes: f64,
        /// How many requests are made at least.
        #[arg(long, default_value_t = 0)]
        requests: usize,
        /// Seed of the schedule and of the requests.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Clients that ask one thing after another.
        #[arg(long, default_value_t = 4)]
        clients: usize,
    },
    /// The same requests one after the other and many at once.
    Throughput,
    /// Small requests beside long ones, a quiet tenant beside a noisy one.
    Neighbours,
    /// Five times what a node can serve, for a minute.
    Overload,
    /// Peers that are slow on purpose, take back what they ask, or come and go.
    Peers,
    /// Collectors of traces that are dead, deaf, refusing or slow.
    Collector,
    /// Memory and descriptors over a long time.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
    },
    /// The network code over a simulated network; the same seed always comes out the same.
    Simulate {
        /// How many seeds are run.
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Shows what happened, and leaves the report as it is.
        #[arg(long)]
        trace: bool,
    },
    /// Random parameters to the gateway's flows.
    Random {
        /// How many requests.
        #[arg(long, default_value_t = 100_000)]
        requests: usize,
    },
    /// Every test that the table of all checks names, with what it measured.
    Checks {
        /// Only the tests of this row; shows what they measured, and leaves the report as it is.
        #[arg(long)]
        row: Option<usize>,
    },
    /// Only the table of all checks, with the tests that hold them.
    Scorecard,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let section = section(&args).await?;
    if !matches!(args.kind, Kind::Simulate { trace: true, .. } | Kind::Checks { row: Some(_) }) {
        section.put(&args.report)?;
    }
    println!("{}", section.markdown());
    if section.misses.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{} goals missed", section.misses.len());
    Ok(ExitCode::FAILURE)
}

async fn section(args: &Args) -> anyhow::Result<Section> {
    if matches!(args.kind, Kind::Scorecard) {
        return Ok(scorecard::section());
    }
    let alone = match args.kind {
        Kind::Simulate { seeds, first, trace } => Some(simulation(Seeds { first, n: seeds, trace })),
        Kind::Random { requests } => Some(random(requests)?),
        Kind::Checks { row } => Some(checks(row).await?),
        _ => None,
    };
    if let Some(mut section) = alone {
        section.text = format!("{}\n\n{}", machine()?, section.text);
        return Ok(section);
    }
    let binaries = match &args.binaries {
        Some(folder) => folder.clone(),
        None => binary("unipic-gateway")?.parent().context("a binary lies in a folder")?.to_owned(),
    };
    let dir = tempfile::tempdir()?;
    let mut section = of_kind(args, &binaries, dir.path()).await?;
    section.text = format!("{}\n\n{}", machine()?, section.text);
    Ok(section)
}

async fn of_kind(args: &Args, binaries: &Path, dir: &Path) -> anyhow::Result<Section> {
    let mut runs = Runs { binaries, dir, model: args.model.clone(), scale: args.scale, lasting: None };
    let minutes = |minutes: f64| Duration::from_secs_f64(minutes.max(0.0) * 60.0);
    match args.kind {
        Kind::Faults { minutes: lasting, requests, seed, clients } => {
            let duration = minutes(lasting);
            let plan = Plan { duration, requests, seed, clients, model: args.model.clone(), ..Plan::default() };
            Ok(run(binaries, dir, &plan).await?.section())
        }
        Kind::Throughput => throughput(&runs).await,
        Kind::Neighbours => neighbours(&runs).await,
        Kind::Overload => overload(&runs).await,
        Kind::Peers => peers(&runs).await,
        Kind::Collector => collector(&runs).await,
        Kind::Soak { minutes: lasting } => {
            runs.lasting = Some(minutes(lasting));
            soak(&runs).await
        }
        Kind::Scorecard => Ok(scorecard::section()),
        Kind::Simulate { seeds, first, trace } => Ok(simulation(Seeds { first, n: seeds, trace })),
        Kind::Random { requests } => random(requests),
        Kind::Checks { row } => checks(row).await,
    }
}

/// Which command was run, where and when, and what else the machine was doing.
fn machine() -> anyhow::Result<String> {
    // Where the binaries lay says nothing to others.
    let mut command = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--binaries" | "--report" => drop(words.next()),
            _ => command.push(word),
        }
    }
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    let date = std::process::Command::new("date").arg("+%Y-%m-%d").output()?;
    Ok(format!(
        "`cargo run -p unipic-chaos -- {}`, {}, {cores} cores of {}; load over the last minute {load}.",
        command.join(" "),
        String::from_utf8_lossy(&date.stdout).trim(),
        model.trim_start_matches([' ', '\t', ':']),
    ))
}
