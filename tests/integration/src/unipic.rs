//! The command line as a person or a script calls it.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::processes::binary;

/// What a run of `unipic` left.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub said: String,
}

impl Ran {
    /// Standard output as text.
    ///
    /// # Errors
    /// When it is none.
    pub fn text(&self) -> anyhow::Result<&str> {
        Ok(std::str::from_utf8(&self.out)?)
    }

    /// The events that `--json` printed.
    ///
    /// # Errors
    /// When a line is no JSON.
    pub fn events(&self) -> anyhow::Result<Vec<Value>> {
        self.text()?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The last event of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn event(&self, name: &str) -> anyhow::Result<Value> {
        let found = self.events()?.into_iter().rfind(|event| event["event"] == name);
        found.with_context(|| format!("no event `{name}`: {self:?}"))
    }

    /// The same, if it ended with `status`.
    ///
    /// # Errors
    /// When it ended with another.
    pub fn ended(self, status: i32) -> anyhow::Result<Self> {
        ensure!(self.status == Some(status), "{:?} instead of {status}: {}", self.status, self.said);
        Ok(self)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { status: output.status.code(), out: output.stdout, said }
    }
}

/// Runs `unipic` in a folder, with nothing on standard input.
///
/// # Errors
/// When it cannot be started.
pub fn unipic(dir: &Path, args: &[&str]) -> anyhow::Result<Ran> {
    unipic_with(dir, args, b"")
}

/// Runs `unipic` in a folder, with something on standard input.
///
/// # Errors
/// When it cannot be started.
pub fn unipic_with(dir: &Path, args: &[&str], input: &[u8]) -> anyhow::Result<Ran> {
    let mut child = start(dir, args)?;
    let mut stdin = child.stdin.take().context("standard input")?;
    // One that ends without reading it breaks the pipe.
    let _ = stdin.write_all(input);
    drop(stdin);
    Ok(child.wait_with_output()?.into())
}

/// Starts `unipic` in a folder, all three streams piped. Variables that would change what it does are taken away.
///
/// # Errors
/// When it cannot be started.
pub fn start(dir: &Path, args: &[&str]) -> anyhow::Result<Child> {
    let mut command = Command::new(binary("unipic")?);
    for variable in ["UNIPIC_SERVER", "UNIPIC_MODEL", "UNIPIC_API_KEY", "UNIPIC_PREVIEW", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command.args(args).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("run unipic")
}
