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
mod flags;
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

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;

use args::{Cli, Command, Data};
use failure::Stopped;
use progress::Progress;

/// Tensors of a pass come and go by the hundred; the system's allocator gives their pages back and takes them anew each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A released folder's pickles are read by this program started again: before any thread and any flag.
    if let Some(code) = unipic_weights::pickle::child_main() {
        return code;
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match args::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return failure::report_unread(&error, &Progress::new(asks_for_json(&arguments))),
    };
    let progress = Progress::new(cli.json);
    let outcome = run(&cli, &progress).and_then(|()| progress.printed().context("write to standard output"));
    progress.finish();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, &progress),
    }
}

/// Whether a command line that cannot be read asks for events.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

fn run(cli: &Cli, progress: &Progress) -> anyhow::Result<()> {
    let command = &cli.command;
    match command {
        Command::Key(command) => return key::run(command, progress),
        Command::Model(command) => return model::run(command, progress),
        Command::Train(args) => return train::train(args, progress),
        Command::Data(Data::Shapes(args)) => return data::shapes(args, progress),
        Command::Completions(args) => return shell::completions(args, progress),
        Command::Man(args) => return shell::man(args, progress),
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new().context("start the async runtime")?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            // The work is begun first: while it reads standard input, ctrl-c ends the process as it ends any.
            biased;
            outcome = work(command, progress) => outcome,
            () = interrupted(), if !knows_ctrl_c(command) => Err(Stopped.into()),
        }
    });
    if outcome.as_ref().is_err_and(|error| error.is::<Stopped>()) {
        // A model that is being loaded would be waited for.
        runtime.shutdown_background();
    }
    outcome
}

/// Does what needs a runtime.
async fn work(command: &Command, progress: &Progress) -> anyhow::Result<()> {
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
        // Done by [`run`]: they need no runtime.
        Command::Key(_) | Command::Model(_) | Command::Train(_) | Command::Data(Data::Shapes(_)) => Ok(()),
        Command::Completions(_) | Command::Man(_) => Ok(()),
    }
}

/// Whether a command has a use of its own for ctrl-c.
fn knows_ctrl_c(command: &Command) -> bool {
    matches!(command, Command::Chat(_) | Command::Top(_) | Command::Serve(_))
}

/// Waits for ctrl-c; for ever where it cannot be waited for, and then it ends the process.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
