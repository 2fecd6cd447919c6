//! The gateway process: configuration, telemetry, listener, service, end.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use figment::providers::Serialized;
use unipic_gateway::Config;
use unipic_serving::{ListenAddress, shutdown_signal};
use unipic_telemetry::TelemetryConfig;

/// The public service of unipic. Settings come from a file, then UNIPIC_GATEWAY_* variables (UNIPIC_GATEWAY_LIMITS__MAX_N
/// is `limits.max_n`), then flags.
#[derive(Debug, Parser)]
#[command(name = "unipic-gateway", version, about)]
struct Args {
    /// Configuration file, TOML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where to listen: 127.0.0.1:50051 or unix:/path.
    #[arg(long)]
    listen: Option<ListenAddress>,
    /// Only judge the configuration.
    #[arg(long)]
    check: bool,
}

/// Reads and judges the configuration; exits with all its problems before a port is bound.
fn main() -> ExitCode {
    let args = Args::parse();
    let listen = args.listen.iter().map(|listen| ("listen", listen.to_string()));
    let flags = Serialized::globals(listen.collect::<std::collections::BTreeMap<_, _>>());
    let mut config: Config = match unipic_serving::config::load(args.config.as_deref(), "UNIPIC_GATEWAY_", flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if config.telemetry.service_name == TelemetryConfig::default().service_name {
        // A `[telemetry]` table that does not name the service takes the common default for all of ours.
        config.telemetry.service_name = "unipic-gateway".to_owned();
    }
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
    let _telemetry = unipic_telemetry::init(&config.telemetry)?;
    let listener = config.listen.bind().await?;
    tracing::info!(listen = %listener.address()?, "listening");
    unipic_gateway::run(config, listener, shutdown_signal()).await.context("backends")?;
    Ok(())
}
