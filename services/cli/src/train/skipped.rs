//! What is told of rows that were skipped.

use std::path::{Path, PathBuf};
use std::time::Instant;

use unipic_trainer::StepReport;

use super::LINE_EVERY;

/// What has been told of rows that were skipped.
pub(super) struct Skipped {
    /// The list of them.
    list: PathBuf,
    /// The stage that was told of last, its number of rows, and when.
    told: Option<(usize, usize, Instant)>,
}

impl Skipped {
    /// Nothing has been told yet of the run in this folder.
    pub(super) fn new(run: &Path) -> Self {
        Self { list: run.join("bad-rows.jsonl"), told: None }
    }

    /// How many there are by now, where that is news. In a first epoch every step may find some, so what has been told a
    /// moment ago waits, but not beyond the stage's end.
    pub(super) fn line(&mut self, report: &StepReport) -> Option<String> {
        let n: usize = report.bad_rows.values().sum();
        let told = self.told.filter(|(stage, ..)| *stage == report.stage);
        let is_news = told.map_or(n > 0, |(_, known, _)| n != known);
        let is_due = told.is_none_or(|(_, _, at)| at.elapsed() >= LINE_EVERY) || report.step == report.n_steps;
        if !is_news || !is_due {
            return None;
        }
        self.told = Some((report.stage, n, Instant::now()));
        let reasons: Vec<String> = report.bad_rows.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
        let (rows, name) = (if n == 1 { "row" } else { "rows" }, &report.name);
        Some(format!("stage `{name}`: {n} {rows} skipped so far: {}; see {}", reasons.join(", "), self.list.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(stage: usize, step: usize, n_unparsable: usize) -> StepReport {
        let counts = [("missing_file", 1), ("unparsable", n_unparsable)].map(|(name, n)| (name.to_owned(), n));
        StepReport {
            stage,
            name: format!("s{stage}"),
            step,
            n_steps: 9,
            losses: Default::default(),
            gradient_norm: 1.0,
            learning_rate: 1.0,
            samples_per_s: 1.0,
            seconds: 1.0,
            bad_rows: counts.into_iter().filter(|_| n_unparsable > 0).collect(),
        }
    }

    #[test]
    fn skipped_rows_are_told_when_their_number_changes() {
        let mut skipped = Skipped::new(Path::new("run"));
        assert_eq!(skipped.line(&report(0, 1, 0)), None);
        let said = skipped.line(&report(0, 2, 2)).unwrap();
        assert_eq!(said, "stage `s0`: 3 rows skipped so far: missing_file 1, unparsable 2; see run/bad-rows.jsonl");
        assert_eq!(skipped.line(&report(0, 3, 2)), None);
        assert_eq!(skipped.line(&report(0, 4, 3)), None, "told a moment ago");
        assert!(skipped.line(&report(0, 9, 3)).unwrap().contains("4 rows"));
        assert_eq!(skipped.line(&report(0, 9, 3)), None);
        assert!(skipped.line(&report(1, 1, 3)).unwrap().contains("`s1`: 4 rows"));
    }
}
