//! Curation: a dataset's rows scored by rewards, and those that score high enough kept.
//!
//! The paper keeps samples that a reward model scores above 0.9. Which reward that is depends on the data: a served
//! vision-language model ([`ImageReward`], [`EditReward`]) for pictures of the world, or a judge that reads pixels
//! ([`ShapesReward`]) for pictures of the shapes world. A row is kept when every reward gives it the threshold or more.
//!
//! Nothing vanishes: each row of the input ends up in `kept.jsonl`, `dropped.jsonl`, `bad.jsonl` (rows that are no rows)
//! or among the failures (rows that could not be scored), and `summary.json` counts them. Scores are written down one by
//! one, so a run that was interrupted goes on, and another threshold needs no scoring again.

mod journal;
mod output;
mod rewards;
mod row;
mod shapes;
mod vqa;
mod words;

use std::path::PathBuf;
use std::sync::Mutex;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use output::{RewardSummary, Summary};
pub use rewards::{EditReward, ImageReward};
pub use row::{Row, Task, Turn};
pub use shapes::ShapesReward;
pub use vqa::VqaScore;
pub use words::parse_claim;

use crate::files::{self, Folder};
use crate::jobs::{self, Done, Lost};
use crate::manifest::{Manifest, sha256};
use crate::{EvalError, Failure, Progress};
use journal::{Entry, Journal};

/// Rows scored at or above it are kept, unless told otherwise.
pub const THRESHOLD: f64 = 0.9;

/// What to curate.
#[derive(Debug, Clone, PartialEq)]
pub struct Curation {
    /// The rows, a JSON-lines file. Image paths are relative to its folder.
    pub rows: PathBuf,
    /// The folder for the results.
    pub out: PathBuf,
    /// The score from which a row is kept, 0 to 1.
    pub threshold: f64,
    /// Rows scored at once; at least 1.
    pub in_flight: usize,
}

/// Scores rows.
pub trait Reward: Send + Sync {
    /// Its name, and every setting that changes a score, such as "image reward, 8 answers".
    fn describe(&self) -> String;

    /// The score of a row, 0 to 1, and why. `None` where the reward has nothing to say about such rows.
    fn score<'a>(&'a self, row: &'a Row) -> BoxFuture<'a, Result<Option<Score>, RewardError>>;
}

/// What a reward said about a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// From 0 to 1; more is better.
    pub value: f64,
    /// Why, in words.
    pub reason: String,
}

/// Why a reward gave no score.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RewardError {
    /// The row is at fault: nobody could score it. It counts as bad.
    #[error("{0}")]
    Row(String),
    /// The scorer failed; the row may be fine. Run again to score it.
    #[error("{0}")]
    Scorer(String),
}

impl From<crate::ArtistError> for RewardError {
    fn from(error: crate::ArtistError) -> Self {
        Self::Scorer(error.to_string())
    }
}

/// A reward's score of a row, under the reward's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The reward, as it describes itself.
    pub reward: String,
    /// What it said.
    #[serde(flatten)]
    pub score: Score,
}

/// Scores the rows and sorts them.
///
/// # Errors
/// When a setting has no sense, the file cannot be read, the folder holds another run, or a result cannot be written.
/// Rows that are bad or could not be scored are in the summary.
pub async fn run(config: &Curation, rewards: &[&dyn Reward], progress: &Progress<'_>) -> Result<Summary, EvalError> {
    check(config, rewards)?;
    let bytes = files::read(&config.rows)?;
    let folder = claim(config, rewards, &bytes)?;
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let journal = Journal::open(&folder)?;
    let known = journal.known().clone();
    let journal = Mutex::new(journal);
    let data = config.rows.parent().map(PathBuf::from).unwrap_or_default();
    let filled = lines.iter().enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let jobs = filled.map(|(at, line)| (format!("line {}", at + 1), (at + 1, *line))).collect();
    let work = |(number, line): (usize, &[u8])| {
        let (known, journal, data) = (known.get(&number).cloned(), &journal, &data);
        let line = line.to_owned();
        async move {
            if let Some(entry) = known {
                return Ok(Done::Kept(entry));
            }
            let entry = score(number, &line, data, rewards).await?;
            journal.lock().map_err(|_| EvalError::Defect("a writer of scores failed".into()))?.add(&entry)?;
            Ok(Done::Made(entry))
        }
    };
    let (entries, outcome) = jobs::run(jobs, config.in_flight, progress, work).await?;
    let summary = output::write(config, &folder, &lines, entries.into_iter().flatten(), outcome)?;
    folder.close();
    Ok(summary)
}

/// Scores one row. A bad row is an entry too; only a scorer's failure is none.
async fn score(number: usize, line: &[u8], data: &std::path::Path, rewards: &[&dyn Reward]) -> Result<Entry, Lost> {
    let bad = |problem: String| Entry { line: number, scores: Vec::new(), bad: Some(problem) };
    let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8 text: {error}"));
    let row = match text.and_then(|text| Row::read(text, data)) {
        Ok(row) => row,
        Err(problem) => return Ok(bad(problem)),
    };
    let mut scores = Vec::new();
    for reward in rewards {
        match reward.score(&row).await {
            Ok(Some(score)) if !(0.0..=1.0).contains(&score.value) => {
                return Err(Lost::Item(format!("{} scored {}, which is no score", reward.describe(), score.value)));
            }
            Ok(Some(score)) => scores.push(Scored { reward: reward.describe(), score }),
            Ok(None) => {}
            Err(RewardError::Row(problem)) => return Ok(bad(problem)),
            Err(RewardError::Scorer(problem)) => return Err(Lost::Item(problem)),
        }
    }
    if scores.is_empty() {
        return Ok(bad("no reward has anything to say about such a row".to_owned()));
    }
    Ok(Entry { line: number, scores, bad: None })
}

fn check(config: &Curation, rewards: &[&dyn Reward]) -> Result<(), EvalError> {
    if !(0.0..=1.0).contains(&config.threshold) {
        return Err(EvalError::setting("threshold", config.threshold, "a number from 0 to 1"));
    }
    if config.in_flight == 0 {
        return Err(EvalError::setting("in flight", 0, "at least 1"));
    }
    match rewards.is_empty() {
        true => Err(EvalError::setting("rewards", "none", "at least one")),
        false => Ok(()),
    }
}

/// Opens the folder for these rows and rewards. The threshold is left out: it changes no score.
fn claim(config: &Curation, rewards: &[&dyn Reward], rows: &[u8]) -> Result<Folder, EvalError> {
    let names: Vec<String> = rewards.iter().map(|reward| reward.describe()).collect();
    let parameters = serde_json::json!({ "rewards": names });
    let manifest = Manifest::new("curation", &parameters, sha256([rows]), &Default::default())?;
    let folder = Folder::open(&config.out)?;
    manifest.claim(&folder)?;
    Ok(folder)
}

impl Summary {
    /// Whether every row was looked at. A command whose run is not complete must exit as failed. Bad rows do not make a
    /// run incomplete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty() && self.not_tried == 0
    }

    /// The rows that could not be scored.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
}
