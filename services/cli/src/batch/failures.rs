//! The rows that failed, a line each, with the reason and the row as it was: put right, the lines can be run again.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use unipic_eval::append_whole;

/// The name of the file.
const NAME: &str = "failed.jsonl";

/// Most bytes of a row that are repeated.
const MAX_ROW_BYTES: usize = 1 << 16;

/// The file of failed rows, made with the first of them.
#[derive(Debug)]
pub(super) struct Failures {
    path: PathBuf,
    file: Option<File>,
    /// How many there were.
    pub(super) n: usize,
}

impl Failures {
    /// Forgets those of an earlier run: its rows are tried again.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(super) fn begin(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", path.display()))
            }
            _ => Ok(Self { path, file: None, n: 0 }),
        }
    }

    /// Writes a failed row down.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn add(&mut self, number: usize, id: Option<&str>, line: &[u8], error: &str) -> anyhow::Result<()> {
        self.n += 1;
        let row = String::from_utf8_lossy(&line[..line.len().min(MAX_ROW_BYTES)]);
        let text = format!("{}\n", json!({ "line": number, "id": id, "error": error, "row": row }));
        let write = |file: &mut File| append_whole(file, text.as_bytes());
        let written = match &mut self.file {
            Some(file) => write(file),
            none => File::create(&self.path).and_then(|file| write(none.insert(file))),
        };
        written.with_context(|| format!("write {}", self.path.display()))
    }

    /// Where they are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_kept_with_its_reason_and_an_earlier_run_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut failures = Failures::begin(dir.path()).unwrap();
        assert!(!failures.path().exists());
        failures.add(3, Some("a"), b"{\"id\": \"a\"}", "no \"prompt\"").unwrap();
        failures.add(4, None, b"\xff", "no text").unwrap();
        let text = std::fs::read_to_string(failures.path()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({ "line": 3, "id": "a", "error": "no \"prompt\"", "row": "{\"id\": \"a\"}" }));
        assert_eq!((failures.n, &lines[1]["row"]), (2, &json!("\u{fffd}")));
        Failures::begin(dir.path()).unwrap();
        assert!(!dir.path().join(NAME).exists());
    }
}
