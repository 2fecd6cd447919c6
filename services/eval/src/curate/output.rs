//! The sorted rows and their summary.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::Curation;
use super::journal::Entry;
use super::row::PATHS;
use crate::files::Folder;
use crate::manifest::to_json;
use crate::{EvalError, Failure, Outcome};

/// Bars of a histogram of scores.
const BARS: usize = 10;

/// What a curation came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Rows that are not empty lines.
    pub rows: usize,
    /// Rows in `kept.jsonl`.
    pub kept: usize,
    /// Rows in `dropped.jsonl`.
    pub dropped: usize,
    /// Rows in `bad.jsonl`.
    pub bad: usize,
    /// Rows that could not be scored; running again tries them again.
    pub failures: Vec<Failure>,
    /// Rows that were not tried any more, because too many failed in a row.
    pub not_tried: usize,
    /// The score from which rows were kept.
    pub threshold: f64,
    /// What each reward said.
    pub rewards: BTreeMap<String, RewardSummary>,
}

/// What a reward said about all its rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RewardSummary {
    /// Rows it scored.
    pub rows: usize,
    /// The mean score.
    pub mean: f64,
    /// Rows by score, in tenths: [0, 0.1), [0.1, 0.2), .., [0.9, 1].
    pub histogram: [usize; BARS],
}

/// Writes the four files.
pub(crate) fn write(
    config: &Curation,
    folder: &Folder,
    lines: &[&[u8]],
    entries: impl Iterator<Item = Entry>,
    outcome: Outcome,
) -> Result<Summary, EvalError> {
    let mut summary = Summary {
        failures: outcome.failures,
        not_tried: outcome.not_tried,
        threshold: config.threshold,
        ..Summary::default()
    };
    let (mut kept, mut dropped, mut bad) = (String::new(), String::new(), String::new());
    for entry in entries {
        let line = lines.get(entry.line - 1).copied().unwrap_or_default();
        summary.count(&entry);
        if let Some(problem) = &entry.bad {
            let text = String::from_utf8_lossy(line.trim_ascii_end());
            bad += &format!("{}\n", json!({ "line": entry.line, "problem": problem, "text": text }));
            summary.bad += 1;
            continue;
        }
        let row = moved(line, &config.rows, folder);
        match entry.scores.iter().find(|scored| scored.score.value < config.threshold) {
            None => {
                kept += &format!("{row}\n");
                summary.kept += 1;
            }
            Some(low) => {
                let why = format!("{}: {} is below {}", low.reward, low.score.value, config.threshold);
                let told = json!({ "line": entry.line, "why": why, "scores": entry.scores, "row": row });
                dropped += &format!("{told}\n");
                summary.dropped += 1;
            }
        }
    }
    summary.rows = summary.kept + summary.dropped + summary.bad + summary.failures.len() + summary.not_tried;
    for (name, text) in [("kept.jsonl", kept), ("dropped.jsonl", dropped), ("bad.jsonl", bad)] {
        folder.write(name, text.as_bytes())?;
    }
    folder.write("summary.json", &to_json(&summary)?)?;
    Ok(summary)
}

impl Summary {
    fn count(&mut self, entry: &Entry) {
        for scored in &entry.scores {
            let reward = self.rewards.entry(scored.reward.clone()).or_default();
            let value = scored.score.value;
            reward.rows += 1;
            reward.mean += (value - reward.mean) / reward.rows as f64;
            reward.histogram[((value * BARS as f64) as usize).min(BARS - 1)] += 1;
        }
    }
}

/// The row with its paths relative to the folder of the results, so that `kept.jsonl` is a dataset as it stands.
fn moved(line: &[u8], rows: &Path, folder: &Folder) -> Value {
    let mut row: Value = serde_json::from_slice(line).unwrap_or_default();
    let from = rows.parent().unwrap_or(Path::new(""));
    let from = if from.as_os_str().is_empty() { Path::new(".") } else { from };
    let to = folder.path("");
    let (Ok(from), Ok(to)) = (from.canonicalize(), to.canonicalize()) else { return row };
    for name in PATHS {
        let relative = row.get(name).and_then(Value::as_str).map(|path| relative(&from.join(path), &to));
        if let Some(path) = relative {
            row[name] = path.to_string_lossy().into();
        }
    }
    row
}

/// A path as seen from a folder; both from the root.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    let parts: Vec<Component> = path.components().filter(|part| *part != Component::CurDir).collect();
    let base: Vec<Component> = folder.components().collect();
    let shared = parts.iter().zip(&base).take_while(|(a, b)| a == b).count();
    let up = base[shared..].iter().map(|_| Component::ParentDir);
    up.chain(parts[shared..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_results() {
        for (path, folder, wanted) in [
            ("/a/b/c.png", "/a/b", "c.png"),
            ("/a/b/c.png", "/a/x/y", "../../b/c.png"),
            ("/a/./b/c.png", "/a", "b/c.png"),
            ("/c.png", "/a", "../c.png"),
        ] {
            assert_eq!(relative(Path::new(path), Path::new(folder)), Path::new(wanted));
        }
    }
}
