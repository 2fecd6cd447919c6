//! The node process: `unipic serve` without the command line's other commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use figment::Figment;
use figment::providers::Serialized;
use serde::Serialize;
use unipic_node::{Config, Node};

/// Tensors of a pass come and go by the hundred; the system's allocator gives their pages back and takes them anew each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// All four services of unipic in one process on one device. Settings come from a file, then UNIPIC_NODE_* variables
/// (UNIPIC_NODE_LIMITS__MAX_N is `limits.max_n`), then flags.
#[derive(Debug, Parser, Serialize)]
#[command(name = "unipic-node", version, about)]
struct Args {
    /// Configuration file, TOML.
    #[arg(long)]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Where to listen: 127.0.0.1:50051 or unix:/path.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Where the HTTP API and the page listen: 127.0.0.1:8080, unix:/path, or `off` [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip)]
    http: Option<String>,
    /// `nano`, the embedded model, or the folder of a checkpoint in any layout [default: nano].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<PathBuf>,
    /// `cpu`, `cuda` or `cuda:N`.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// `auto` (f32 on a CPU, bf16 on a GPU), `f32` or `bf16`.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    dtype: Option<String>,
    /// How linear layers are held: `dense` or `q8_0`.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    linear: Option<String>,
    /// Only judge the configuration; neither the model nor the device is opened.
    #[arg(long)]
    #[serde(skip)]
    check: bool,
}

fn main() -> ExitCode {
    // A released folder is converted in a child process, which is this program once more.
    if let Some(code) = unipic_weights::pickle::child_main() {
        return code;
    }
    let args = Args::parse();
    let mut flags = Figment::from(Serialized::defaults(&args));
    if let Some(listen) = &args.http {
        flags = flags.merge(Serialized::default("http.listen", listen));
    }
    let mut config: Config = match unipic_serving::config::load(args.config.as_deref(), "UNIPIC_NODE_", flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    config.telemetry.name_service("unipic-node");
    if args.check {
        return ExitCode::SUCCESS;
    }
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unipic-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    let telemetry = unipic_telemetry::init(&config.telemetry)?;
    Node::run(config, telemetry.metrics(), unipic_serving::stop_signal()).await?;
    Ok(())
}
