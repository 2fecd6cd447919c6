//! `completions` and `man`: the command line as shells and manuals want it, made from the same definition as `--help`.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use serde_json::json;

use crate::args::{Cli, Completions, Man};
use crate::progress::Progress;

/// Prints the completions for a shell.
///
/// # Errors
/// When they are no text.
pub(crate) fn completions(args: &Completions, progress: &Progress) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "unipic", &mut script);
    let script = String::from_utf8(script).context("the completions are no UTF-8 text")?;
    progress.text(script.trim_end());
    Ok(())
}

/// Writes a manual page for each command.
///
/// # Errors
/// When the folder cannot be made or written.
pub(crate) fn man(args: &Man, progress: &Progress) -> anyhow::Result<()> {
    let folder = args.folder.display();
    std::fs::create_dir_all(&args.folder).with_context(|| format!("make the folder {folder}"))?;
    write_pages(&args.folder).with_context(|| format!("write manual pages to {folder}"))?;
    progress.result(
        &format!("{folder}: manual pages written; read them with `man -l {folder}/unipic.1`"),
        json!({
            "path": args.folder,
        }),
    );
    Ok(())
}

/// Writes all pages beside their places first, so that a full disk leaves no half page.
fn write_pages(folder: &Path) -> std::io::Result<()> {
    let unfinished = tempfile::Builder::new().prefix(".man-").tempdir_in(folder)?;
    clap_mangen::generate_to(Cli::command(), unfinished.path())?;
    for page in std::fs::read_dir(unfinished.path())? {
        let page = page?;
        std::fs::rename(page.path(), folder.join(page.file_name()))?;
    }
    Ok(())
}
