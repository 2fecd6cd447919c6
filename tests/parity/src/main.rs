//! `parity PATH`: runs a folder of recorded cases, prints what it found, and fails when anything did.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use parity::Options;
use unipic_nn::Ops;
use unipic_weights::Layout;

/// Compares our model with numbers recorded from the published implementation.
#[derive(Parser)]
#[command(name = "parity")]
struct Arguments {
    /// A folder with a checkpoint and its `cases`.
    path: PathBuf,
    /// Which implementation of the operations to run; with inference, losses run on the training ones.
    #[arg(long, value_enum, default_value_t = OpsName::Inference)]
    ops: OpsName,
    /// In which form to read the weights; by default safetensors where there are any, else the released pickles.
    #[arg(long, value_enum)]
    layout: Option<LayoutName>,
    /// `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Only cases whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum OpsName {
    Reference,
    Training,
    Inference,
}

#[derive(Clone, Copy, ValueEnum)]
enum LayoutName {
    Safetensors,
    Checkpoint,
}

fn main() -> ExitCode {
    // Pickles are read by a child process, which is this program again.
    if let Some(code) = unipic_weights::pickle::child_main() {
        return code;
    }
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything passed.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let report = parity::run(&Options {
        ops: match arguments.ops {
            OpsName::Reference => Ops::Reference,
            OpsName::Training => Ops::Training,
            OpsName::Inference => Ops::Inference,
        },
        layout: arguments.layout.map(|layout| match layout {
            LayoutName::Safetensors => Layout::Safetensors,
            LayoutName::Checkpoint => Layout::Pickle,
        }),
        device: arguments.device.clone(),
        filter: arguments.filter.clone(),
        ..Options::new(&arguments.path)
    })?;
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print!("{}", report.table()),
    }
    Ok(report.passed())
}
