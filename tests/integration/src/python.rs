//! A Python with the packages that the client tests need.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Modules of every package in `python/requirements.txt`: an environment made before one was added lacks it.
const MODULES: &str = "import grpc, grpc_tools, openai, grpc_health, google.rpc, PIL, hatchling, mypy, numpy, opentelemetry.sdk, \
                       playwright, pytest, ruff, trustme";

/// A Python with the packages of `python/requirements.txt`, made once in the target folder. None where it cannot be had: a
/// developer without Python or its package index still gets every other test; CI has to run these.
///
/// # Errors
/// In CI, when it cannot be had.
pub fn python() -> anyhow::Result<Option<PathBuf>> {
    match environment() {
        Ok(python) => Ok(Some(python)),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: {error:#}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn environment() -> anyhow::Result<PathBuf> {
    let folder = std::env::current_exe()?.ancestors().nth(3).map(|target| target.join("python"));
    let folder = folder.context("the test binary has no target folder")?;
    let python = folder.join("bin/python");
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/requirements.txt");
    if !Command::new(&python).args(["-c", MODULES]).status().is_ok_and(|status| status.success()) {
        ensure!(
            Command::new("python3").args(["-m", "venv"]).arg(&folder).status()?.success(),
            "python3 -m venv failed"
        );
        let install =
            Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements).status()?;
        ensure!(install.success(), "cannot install the packages of tests/integration/python/requirements.txt");
    }
    Ok(python)
}

/// Installs our own Python package into a folder, to be named in `PYTHONPATH`, as pip does it for users but from nothing
/// that is not here.
///
/// # Errors
/// When pip refuses.
pub fn install_package(python: &Path, into: &Path) -> anyhow::Result<()> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/client/python");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]);
    let installed = pip.args(["--no-build-isolation", "--target"]).arg(into).arg(package).output()?;
    ensure!(installed.status.success(), "pip install: {}", String::from_utf8_lossy(&installed.stderr));
    Ok(())
}
