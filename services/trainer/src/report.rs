//! What a run tells: metrics as JSON lines, loss curves and sample sheets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use unipic_imaging::{Format, Rgb8, encode};

use crate::TrainError;
use crate::data::BadRow;

/// One step of a run, as it stands in `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The stage's number, from 0.
    pub stage: usize,
    /// The stage's name.
    pub name: String,
    /// Steps done in the stage.
    pub step: usize,
    /// Steps of the stage in all.
    pub n_steps: usize,
    /// Mean losses of the step's samples, by name.
    pub losses: BTreeMap<String, f64>,
    /// Norm of all gradients, before clipping.
    pub gradient_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Samples a second, of this step.
    pub samples_per_s: f64,
    /// Seconds of training since the run began.
    pub seconds: f64,
    /// How many of the stage's rows were skipped so far, by reason; `bad-rows.jsonl` says which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bad_rows: BTreeMap<String, usize>,
}

/// The files of a run's folder.
pub(crate) struct Journal {
    folder: PathBuf,
    metrics: File,
}

impl Journal {
    /// Opens the metrics, without lines beyond (`stage`, `step`): steps that are to be taken again.
    pub(crate) fn open(folder: &Path, stage: usize, step: usize) -> Result<Self, TrainError> {
        let path = folder.join("metrics.jsonl");
        let kept = steps_in(&path)?.into_iter().filter(|(report, _)| (report.stage, report.step) <= (stage, step));
        let kept: Vec<String> = kept.map(|(_, line)| line).collect();
        let text: String = kept.iter().map(|line| format!("{line}\n")).collect();
        replace(&path, text.as_bytes())?;
        let metrics = OpenOptions::new().append(true).open(&path).map_err(TrainError::io(&path))?;
        Ok(Self { folder: folder.to_owned(), metrics })
    }

    /// Appends a step.
    pub(crate) fn step(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let line = serde_json::to_string(report).map_err(|e| TrainError::Data(e.to_string()))?;
        writeln!(self.metrics, "{line}").map_err(TrainError::io(&self.folder.join("metrics.jsonl")))
    }

    /// All steps so far.
    pub(crate) fn steps(&self) -> Result<Vec<StepReport>, TrainError> {
        Ok(steps_in(&self.folder.join("metrics.jsonl"))?.into_iter().map(|(report, _)| report).collect())
    }

    /// Lists rows that were skipped, with those listed before.
    pub(crate) fn bad_rows(&self, rows: &[BadRow]) -> Result<(), TrainError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut lines = whole_lines(&self.folder.join("bad-rows.jsonl"))?;
        let known: BTreeSet<String> = lines.iter().cloned().collect();
        for row in rows {
            let line = serde_json::to_string(row).map_err(|e| TrainError::Data(e.to_string()))?;
            if !known.contains(&line) {
                lines.push(line);
            }
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.file("bad-rows.jsonl", text.as_bytes()).map(drop)
    }

    /// Writes a picture of the run.
    pub(crate) fn picture(&self, name: &str, picture: &Rgb8) -> Result<(), TrainError> {
        let bytes = encode(picture, Format::Png, &[]).map_err(|e| TrainError::Data(e.to_string()))?;
        replace(&self.folder.join(name), &bytes)
    }

    /// Writes any file of the run.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, TrainError> {
        let path = self.folder.join(name);
        replace(&path, bytes)?;
        Ok(path)
    }
}

/// The steps in a file of metrics, each with its line.
///
/// A line that is none is an error: the file is written anew without what was not understood, and that would be lost.
fn steps_in(path: &Path) -> Result<Vec<(StepReport, String)>, TrainError> {
    let read = |(number, line): (usize, String)| match serde_json::from_str(&line) {
        Ok(report) => Ok((report, line)),
        Err(error) => {
            let why = format!("line {number} is no step of a run ({error}); move the file away to go on without it");
            Err(TrainError::io(path)(io::Error::other(why)))
        }
    };
    (1..).zip(whole_lines(path)?).map(read).collect()
}

/// The lines of a file, none where there is no file. What stands behind the last line's end was cut off, and is left out.
fn whole_lines(path: &Path) -> Result<Vec<String>, TrainError> {
    let mut bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(TrainError::io(path))?,
    };
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    let text = String::from_utf8(bytes).map_err(|error| {
        let why = format!("not UTF-8 text ({}); move the file away to go on without it", error.utf8_error());
        TrainError::io(path)(io::Error::other(why))
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Writes a file whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)
    };
    write().map(drop).map_err(TrainError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: usize) -> StepReport {
        StepReport {
            stage: 0,
            name: "s".into(),
            step,
            n_steps: 9,
            losses: BTreeMap::new(),
            gradient_norm: 1.0,
            learning_rate: 1.0,
            samples_per_s: 1.0,
            seconds: 1.0,
            bad_rows: BTreeMap::new(),
        }
    }

    #[test]
    fn steps_to_be_taken_again_and_half_a_line_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 0, 0).unwrap();
        (1..=3).for_each(|step| journal.step(&report(step)).unwrap());
        journal.metrics.write_all(b"{\"stage\": 0, \"name\": \"\xc3").unwrap();
        let journal = Journal::open(folder.path(), 0, 2).unwrap();
        assert_eq!(journal.steps().unwrap(), [report(1), report(2)]);
    }

    #[test]
    fn metrics_that_cannot_be_read_are_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let good = serde_json::to_string(&report(1)).unwrap();
        for (bad, part) in [(&b"\xff\xfe"[..], "UTF-8"), (&b"{}"[..], "line 2 is no step")] {
            let bytes = [good.as_bytes(), b"\n", bad, b"\n", good.as_bytes(), b"\n"].concat();
            std::fs::write(&path, &bytes).unwrap();
            let said = Journal::open(folder.path(), 0, 9).err().unwrap().to_string();
            assert!(said.contains("metrics.jsonl") && said.contains(part) && said.contains("move"), "{said}");
            assert!(std::fs::read(&path).unwrap() == bytes);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(Journal::open(folder.path(), 0, 9).is_err());
    }

    #[test]
    fn a_list_of_bad_rows_that_cannot_be_read_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), 0, 0).unwrap();
        let row = |line| {
            let (rows, reason) = ("rows.jsonl".into(), crate::data::Reason::Unparsable);
            BadRow { stage: 0, rows, line, reason, why: "no JSON".into() }
        };
        journal.bad_rows(&[row(1)]).unwrap();
        journal.bad_rows(&[row(1), row(2)]).unwrap();
        let path = folder.path().join("bad-rows.jsonl");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        std::fs::write(&path, b"\xff\n").unwrap();
        assert!(journal.bad_rows(&[row(3)]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"\xff\n");
    }
}
