//! `unipic`: draw, edit and ask from the command line, serve, and look after checkpoints.
//!
//! A thin client. With `--server` it talks to a running gateway or node; without, it runs a node in its own process and
//! talks to that, so both ways share every line behind the socket.

mod args;
mod connect;
mod describe;
mod draw;
mod failure;
mod input;
mod model;
mod output;
mod progress;
mod serve;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use args::{Cli, Command};
use progress::Progress;

fn main() -> ExitCode {
    // A released folder's pickles are read by this program started again: before any thread and any flag.
    if let Some(code) = unipic_weights::pickle::child_main() {
        return code;
    }
    let cli = Cli::parse();
    let progress = Progress::new(cli.json);
    let outcome = run(&cli.command, &progress);
    progress.finish();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn run(command: &Command, progress: &Progress) -> anyhow::Result<()> {
    if let Command::Model(command) = command {
        return model::run(command, progress);
    }
    let runtime = tokio::runtime::Runtime::new().context("start the async runtime")?;
    runtime.block_on(async {
        match command {
            Command::Generate(args) => draw::generate(args, progress).await,
            Command::Edit(args) => draw::edit(args, progress).await,
            Command::Describe(args) => describe::describe(args, progress).await,
            Command::Serve(args) => serve::serve(args, progress).await,
            Command::Model(_) => Ok(()),
        }
    })
}
