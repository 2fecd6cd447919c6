//! `unipic`: draw, edit and ask from the command line, serve, and look after checkpoints.
//!
//! A thin client. With `--server` it talks to a running gateway or node; without, it runs a node in its own process and
//! talks to that, so both ways share every line behind the socket.

mod answer;
mod args;
mod batch;
mod chat;
mod connect;
mod data;
mod describe;
mod digest;
mod draw;
mod eval;
mod failure;
mod health;
mod images;
mod input;
mod key;
mod model;
mod output;
mod preview;
mod progress;
mod replay;
mod serve;
mod sheet;
mod shell;
mod top;
mod train;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use args::{Cli, Command, Data};
use progress::Progress;

fn main() -> ExitCode {
    // A released folder's pickles are read by this program started again: before any thread and any flag.
    if let Some(code) = unipic_weights::pickle::child_main() {
        return code;
    }
    let cli = Cli::parse();
    let progress = Progress::new(cli.json);
    let outcome = run(&cli, &progress).and_then(|()| progress.printed().context("write to standard output"));
    progress.finish();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn run(cli: &Cli, progress: &Progress) -> anyhow::Result<()> {
    let command = &cli.command;
    match command {
        Command::Key(command) => return key::run(command, progress),
        Command::Model(command) => return model::run(command, progress),
        Command::Train(args) => return train::train(args, progress),
        Command::Data(Data::Shapes(args)) => return data::shapes(args, progress),
        Command::Completions(args) => return shell::completions(args),
        Command::Man(args) => return shell::man(args, progress),
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new().context("start the async runtime")?;
    runtime.block_on(async {
        match command {
            Command::Generate(args) => draw::generate(args, progress).await,
            Command::Edit(args) => draw::edit(args, progress).await,
            Command::Describe(args) => describe::describe(args, progress).await,
            Command::Chat(args) => chat::chat(args, progress).await,
            Command::Batch(args) => batch::batch(args, progress).await,
            Command::Replay(args) => replay::replay(args, progress).await,
            Command::Top(args) => top::top(args, progress).await,
            Command::Serve(args) => serve::serve(args).await,
            Command::Health(args) => health::health(args, progress).await,
            Command::Data(Data::Curate(args)) => data::curate(args, progress).await,
            Command::Eval(command) => eval::eval(command, progress).await,
            // Done above: they need no runtime.
            Command::Key(_) | Command::Model(_) | Command::Train(_) | Command::Data(Data::Shapes(_)) => Ok(()),
            Command::Completions(_) | Command::Man(_) => Ok(()),
        }
    })
}
