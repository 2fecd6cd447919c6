//! The page in a real browser, against the single-process node.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use integration::processes::{Process, binary};
use integration::python::python;

/// What the script ends with where there is no browser.
const SKIPPED: i32 = 77;

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_an_error_and_a_cancel_in_a_browser() -> anyhow::Result<()> {
    let Some(python) = python()? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    // The embedded model, which is what the page is met with first.
    let mut node = Process::start(&binary("unipic-node")?, &[], "", dir.path())?;
    node.ready().await?;
    let base = format!("http://127.0.0.1:{}", node.http_port.context("a node has an HTTP API")?);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/playground.py");
    let mut run = Command::new(&python);
    run.arg(script).arg(&base).arg(dir.path().join("screenshots"));
    let run = tokio::task::spawn_blocking(move || run.output()).await??;
    let said = String::from_utf8_lossy(&run.stdout);
    if run.status.code() == Some(SKIPPED) {
        eprintln!("{said}");
        return node.stop().await;
    }
    ensure!(run.status.success(), "{said}\n{}\n{}", String::from_utf8_lossy(&run.stderr), node.log());
    ensure!(said.contains("all of the playground works"), "{said}");
    node.stop().await
}
