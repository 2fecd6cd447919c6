//! `unipic-decoder`: the language model as a gRPC service.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser};
use figment::providers::Serialized;
use serde::Serialize;
use unipic_decoder::config::Config;
use unipic_decoder::server;
use unipic_serving::{Ops, stop_signal};

/// Tensors of a pass come and go by the hundred; the system's allocator gives their pages back and takes them anew each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves the shared autoregressive decoder of UniPic: the language model and its tokenizer.
///
/// Every setting can stand in the file, in a variable (UNIPIC_DECODER_MODEL, UNIPIC_DECODER_TELEMETRY__OTLP_ENDPOINT)
/// or in a flag, in rising order of precedence.
#[derive(Parser)]
#[command(name = "unipic-decoder", version)]
struct Cli {
    /// A TOML file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// Only judge the configuration; neither the model nor the device is opened.
    #[arg(long)]
    check: bool,
}

#[derive(Args, Serialize)]
struct Flags {
    /// Where to listen: 127.0.0.1:50054 or unix:/path.
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// `nano`, the embedded model, or the folder of a checkpoint: released, or converted to safetensors [default: nano].
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<PathBuf>,
    /// cpu, cuda or cuda:N.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// auto (f32 on a CPU, bf16 on a GPU), f32 or bf16.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    dtype: Option<String>,
    /// How linear layers are held: dense or q8_0.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    linear: Option<String>,
}

fn main() -> ExitCode {
    // The reader of a released folder's pickles is this program, started again: before any thread and any flag.
    if let Some(code) = unipic_weights::pickle::child_main() {
        return code;
    }
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unipic-decoder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let config = Config::load(cli.config.as_deref(), Serialized::defaults(&cli.flags))?;
    if cli.check {
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    runtime.block_on(async {
        let telemetry = unipic_telemetry::init(&config.telemetry)?;
        let judged = server::judge(&config)?;
        let listener = config.listen.bind().await?;
        let ops = Ops::bind(&config.ops, telemetry.metrics().clone()).await?;
        tracing::info!(address = %listener.address()?, "listening");
        let load = server::load(&config, judged, telemetry.metrics());
        server::run(&config, load, listener, ops, stop_signal()).await?;
        Ok(())
    })
}
