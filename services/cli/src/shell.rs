//! `completions` and `man`: the command line as shells and manuals want it, made from the same definition as `--help`.

use anyhow::Context;
use clap::CommandFactory;
use serde_json::json;

use crate::args::{Cli, Completions, Man};
use crate::progress::Progress;

/// Prints the completions for a shell.
///
/// # Errors
/// When standard output takes no more.
pub(crate) fn completions(args: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "unipic", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script).context("write the completions")
}

/// Writes a manual page for each command.
///
/// # Errors
/// When the folder cannot be made or written.
pub(crate) fn man(args: &Man, progress: &Progress) -> anyhow::Result<()> {
    let folder = args.folder.display();
    std::fs::create_dir_all(&args.folder).with_context(|| format!("make the folder {folder}"))?;
    clap_mangen::generate_to(Cli::command(), &args.folder)
        .with_context(|| format!("write manual pages to {folder}"))?;
    progress.result(
        &format!("{folder}: manual pages written; read them with `man -l {folder}/unipic.1`"),
        json!({
            "path": args.folder,
        }),
    );
    Ok(())
}
