//! Starting the child and taking its answer.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::child::{COMMAND, is_wired};
use super::index::{Answer, Located};

/// Longest answer taken, in bytes. The published model's takes 0.4 MB.
const MAX_ANSWER: u64 = 64 << 20;
/// The program of this crate that does nothing but this.
const HELPER: &str = "unipic-convert";

/// The program to start: the one given, this one if its `main` knows how, or the helper beside it.
pub(super) fn program(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let this = std::env::current_exe().map_err(|e| format!("this program's own file is unknown: {e}"))?;
    if is_wired() {
        return Ok(this);
    }
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(HELPER));
    beside.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        format!("pickles are read by a separate process, and there is no program {HELPER} beside {}", this.display())
    })
}

/// The tensors in the pickle at `path`, as the child tells them.
pub(super) fn read(path: &Path, program: &Path, key: Option<&str>) -> Result<Vec<Located>, String> {
    let spawned = Command::new(program)
        .arg(COMMAND)
        .arg(path)
        .args(key)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = spawned.map_err(|e| format!("the pickle reader {} cannot be started: {e}", program.display()))?;
    let answer = take_answer(&mut child);
    let status = child.wait().map_err(|e| format!("the pickle reader was lost: {e}"))?;
    let answer = answer?;
    if !status.success() {
        return Err(describe(status));
    }
    match serde_json::from_slice(&answer) {
        Ok(Answer::Tensors(tensors)) => Ok(tensors),
        Ok(Answer::Refused(why)) => Err(why),
        Err(_) => Err(format!("{} did not answer as a pickle reader does", program.display())),
    }
}

/// Standard output to its end; a child that writes too much is killed.
fn take_answer(child: &mut Child) -> Result<Vec<u8>, String> {
    let mut answer = Vec::new();
    let read = match child.stdout.take() {
        Some(stdout) => stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer).map_err(|e| e.to_string()),
        None => Err("no output".to_owned()),
    };
    if read.is_err() || answer.len() as u64 > MAX_ANSWER {
        // It may have ended by itself just now, and then there is nothing to kill.
        let _ = child.kill();
        return Err("the pickle reader answered too much or not at all".into());
    }
    Ok(answer)
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => {
            format!("the pickle reader hit a limit (memory, stack or time) and was stopped by signal {signal}")
        }
        None => format!("the pickle reader failed ({status})"),
    }
}
