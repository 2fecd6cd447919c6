//! The Python package `unipic`: it installs, and its own tests pass against the shipped node.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use integration::processes::binary;
use integration::python::{install_package, python};

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/client/python")
}

/// Servers are started by the tests themselves, since several of them need one with a configuration of its own.
#[test]
fn the_package_installs_and_passes_its_tests() -> anyhow::Result<()> {
    let Some(python) = python()? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    install_package(&python, dir.path())?;
    let stubs = dir.path().join("unipic/v1/unipic_pb2.py");
    ensure!(
        stubs.is_file() && dir.path().join("unipic/py.typed").is_file(),
        "the package lacks its stubs or its types"
    );
    let run = Command::new(&python)
        .args(["-m", "pytest", "-q", "--durations=5"])
        .current_dir(package())
        .env("PYTHONPATH", dir.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("UNIPIC_TEST_SERVER", binary("unipic-node")?)
        .output()?;
    let said = format!("{}\n{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    ensure!(run.status.success(), "{said}");
    let last = said.lines().rfind(|line| line.contains(" passed")).context("nothing passed")?;
    println!("{said}");
    ensure!(!last.contains("skipped"), "with a server at hand nothing is to be skipped: {last}");
    Ok(())
}
