//! The finished rows, a line each: what an interrupted batch goes on from.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use unipic_eval::append_whole;

use super::row::Row;
use crate::failure::wrong;

/// The name of the file.
const NAME: &str = "done.jsonl";

/// A finished row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The row.
    pub(super) id: String,
    /// SHA-256 of its line.
    pub(super) sha256: String,
    /// Seed of its images.
    pub(super) seed: u64,
    /// Names of its files.
    pub(super) files: Vec<String>,
}

/// The file of finished rows.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    folder: PathBuf,
    known: HashMap<String, Entry>,
}

impl Journal {
    /// Opens or makes the file. A last line that was cut off is taken away: its row is made again.
    ///
    /// # Errors
    /// When it cannot be read or written, or an earlier line is none of ours.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(NAME);
        let shown = path.display();
        let bytes =
            if path.exists() { std::fs::read(&path).with_context(|| format!("read {shown}"))? } else { Vec::new() };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut known = HashMap::new();
        for (at, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let entry: Entry = serde_json::from_slice(line)
                .map_err(|error| wrong(format!("{shown}, line {}, is no finished row: {error}", at + 1)))?;
            known.insert(entry.id.clone(), entry);
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("open {shown}"))?;
        file.set_len(whole as u64).with_context(|| format!("write {shown}"))?;
        Ok(Self { file, folder: folder.to_owned(), known })
    }

    /// Whether a row was finished as it stands, and its files are still there.
    pub(super) fn has(&self, row: &Row) -> bool {
        self.known.get(&row.id).is_some_and(|entry| {
            entry.sha256 == row.sha256 && entry.files.iter().all(|name| self.folder.join(name).is_file())
        })
    }

    /// Writes a finished row down, its files being there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn add(&mut self, entry: &Entry) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        append_whole(&mut self.file, &line).with_context(|| format!("write {}", self.folder.join(NAME).display()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn row(id: &str, prompt: &str) -> Row {
        Row::parse(format!(r#"{{"id":"{id}","prompt":"{prompt}"}}"#).as_bytes()).unwrap()
    }

    #[test]
    fn a_row_is_finished_while_it_and_its_files_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let done = row("a", "x");
        let entry = Entry { id: "a".into(), sha256: done.sha256.clone(), seed: 7, files: vec!["a.png".into()] };
        let mut journal = Journal::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("a.png"), "x").unwrap();
        journal.add(&entry).unwrap();
        journal.file.write_all(b"{\"id\": \"b").unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        assert!(journal.has(&done) && !journal.has(&row("a", "y")) && !journal.has(&row("b", "x")));
        journal.add(&Entry { id: "c".into(), ..entry }).unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.known.len(), 2, "half a line is gone and the next stands alone");
        std::fs::remove_file(dir.path().join("a.png")).unwrap();
        assert!(!journal.has(&done));
    }

    #[test]
    fn another_file_of_that_name_is_let_be() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), "{\"mine\": 1}\n").unwrap();
        let said = Journal::open(dir.path()).unwrap_err().to_string();
        assert!(said.contains("done.jsonl, line 1"), "{said}");
        assert_eq!(std::fs::read_to_string(dir.path().join(NAME)).unwrap(), "{\"mine\": 1}\n");
    }
}
