//! The scores as they come, one line each: what an interrupted run goes on from.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};

use serde::{Deserialize, Serialize};

use super::Scored;
use crate::EvalError;
use crate::files::{self, Folder};

/// The name of the file.
const NAME: &str = "scores.jsonl";

/// What is known about a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Number of the row's line, from 1.
    pub(crate) line: usize,
    /// What the rewards said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) scores: Vec<Scored>,
    /// What is wrong with the row, where it is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bad: Option<String>,
}

/// The file of scores.
pub(crate) struct Journal {
    file: File,
    path: std::path::PathBuf,
    known: HashMap<usize, Entry>,
}

impl Journal {
    /// Opens or makes the file. A last line that was cut off is taken away.
    ///
    /// # Errors
    /// [`EvalError::Read`], [`EvalError::Write`], and [`EvalError::Input`] when an earlier line is no score.
    pub(crate) fn open(folder: &Folder) -> Result<Self, EvalError> {
        let path = folder.path(NAME);
        let fail = |source| EvalError::Write { path: path.clone(), source };
        let bytes = if path.exists() { files::read(&path)? } else { Vec::new() };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut known = HashMap::new();
        for (at, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let entry: Entry = serde_json::from_slice(line).map_err(|error| EvalError::Input {
                path: path.clone(),
                place: format!("line {}", at + 1),
                problem: format!("no score: {error}"),
            })?;
            known.insert(entry.line, entry);
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
        file.set_len(whole as u64).map_err(fail)?;
        Ok(Self { file, path, known })
    }

    /// What is known already, by line.
    pub(crate) fn known(&self) -> &HashMap<usize, Entry> {
        &self.known
    }

    /// Writes an entry down.
    ///
    /// # Errors
    /// [`EvalError::Write`].
    pub(crate) fn add(&mut self, entry: &Entry) -> Result<(), EvalError> {
        let mut line = serde_json::to_vec(entry).map_err(|error| EvalError::Defect(format!("no JSON: {error}")))?;
        line.push(b'\n');
        files::append_whole(&mut self.file, &line)
            .map_err(|source| EvalError::Write { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn half_a_line_is_forgotten_and_nonsense_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let entry = |line| Entry { line, scores: Vec::new(), bad: Some("x".into()) };
        let mut journal = Journal::open(&folder).unwrap();
        journal.add(&entry(4)).unwrap();
        journal.file.write_all(b"{\"line\": 5, \"b").unwrap();
        let mut journal = Journal::open(&folder).unwrap();
        assert_eq!(journal.known().keys().collect::<Vec<_>>(), [&4]);
        journal.add(&entry(6)).unwrap();
        assert_eq!(Journal::open(&folder).unwrap().known().len(), 2);
        journal.file.write_all(b"nonsense\n").unwrap();
        let said = Journal::open(&folder).err().unwrap().to_string();
        assert!(said.contains("scores.jsonl") && said.contains("line 3"), "{said}");
    }
}
