//! `model`: converting, inspecting and making checkpoints.

use std::path::Path;

use serde_json::json;
use unipic_weights::OpenOptions;

use crate::args::Model;
use crate::progress::Progress;

/// Runs one of the commands.
///
/// # Errors
/// When a checkpoint cannot be read or written; tensors at fault are all named.
pub(crate) fn run(command: &Model, progress: &Progress) -> anyhow::Result<()> {
    match command {
        Model::Convert { source, destination } => convert(source, destination, progress),
        _ => anyhow::bail!("pending"),
    }
}

fn convert(source: &Path, destination: &Path, progress: &Progress) -> anyhow::Result<()> {
    progress.stage(format!("reading {}", source.display()));
    let options = OpenOptions::default();
    let done = unipic_weights::convert(source, destination, &options, None, &mut |step| progress.bytes(&step))?;
    for notice in &done.notices {
        progress.line(notice);
    }
    progress.line(&format!("{} tensors, {} bytes → {}", done.n_tensors, done.n_bytes, destination.display()));
    progress.event("done", json!({ "tensors": done.n_tensors, "bytes": done.n_bytes, "sha256": done.sha256 }));
    Ok(())
}
