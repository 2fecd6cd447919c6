//! What a run tells: metrics as JSON lines, loss curves and sample sheets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
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
        let kept: Vec<String> = match File::open(&path) {
            Ok(file) => BufReader::new(file)
                .lines()
                .map_while(Result::ok)
                .filter(|line| {
                    serde_json::from_str::<StepReport>(line).is_ok_and(|r| (r.stage, r.step) <= (stage, step))
                })
                .collect(),
            Err(_) => Vec::new(),
        };
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
    pub(crate) fn steps(&self) -> Vec<StepReport> {
        let Ok(file) = File::open(self.folder.join("metrics.jsonl")) else { return Vec::new() };
        BufReader::new(file).lines().map_while(Result::ok).filter_map(|l| serde_json::from_str(&l).ok()).collect()
    }

    /// Lists rows that were skipped, with those listed before.
    pub(crate) fn bad_rows(&self, rows: &[BadRow]) -> Result<(), TrainError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<String> = match File::open(self.folder.join("bad-rows.jsonl")) {
            Ok(file) => BufReader::new(file).lines().map_while(Result::ok).collect(),
            Err(_) => Vec::new(),
        };
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
