//! The gateway process: configuration, telemetry, listener, service, end.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use figment::Figment;
use figment::providers::Serialized;
use serde::Serialize;
use unipic_gateway::Config;
use unipic_serving::{Ops, stop_signal};

/// The public service of unipic. Settings come from a file, then UNIPIC_GATEWAY_* variables (UNIPIC_GATEWAY_LIMITS__MAX_N
/// is `limits.max_n`), then flags.
#[derive(Debug, Parser, Serialize)]
#[command(name = "unipic-gateway", version, about)]
struct Args {
    /// Configuration file, TOML.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Where to listen: 127.0.0.1:50051 or unix:/path.
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Where the HTTP API listens, such as 127.0.0.1:8080; `off` [default: off].
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip)]
    http: Option<String>,
    /// A replica of the understanding encoder, https://host:port, http://host:port or unix:/path; repeat it for more.
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    understanding: Vec<String>,
    /// A replica of the synthesis service; repeat it for more.
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    synthesis: Vec<String>,
    /// A replica of the decoder; repeat it for more.
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decoder: Vec<String>,
    /// Only judge the configuration.
    #[arg(long)]
    #[serde(skip)]
    check: bool,
}

/// Reads and judges the configuration; exits with all its problems before a port is bound.
fn main() -> ExitCode {
    let args = Args::parse();
    let mut flags = Figment::from(Serialized::defaults(&args));
    if let Some(listen) = &args.http {
        flags = flags.merge(Serialized::default("http.listen", listen));
    }
    let mut config: Config = match unipic_serving::config::load(args.config.as_deref(), "UNIPIC_GATEWAY_", flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    config.telemetry.name_service("unipic-gateway");
    if args.check {
        return ExitCode::SUCCESS;
    }
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unipic-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    let telemetry = unipic_telemetry::init(&config.telemetry)?;
    let listener = config.listen.bind().await?;
    let ops = Ops::bind(&config.ops, telemetry.metrics().clone()).await?;
    tracing::info!(listen = %listener.address()?, "listening");
    let http = config.http.bind(None).await?;
    let metrics = telemetry.metrics();
    unipic_gateway::run(config, listener, http, metrics, ops, stop_signal()).await.context("backends")?;
    Ok(())
}
