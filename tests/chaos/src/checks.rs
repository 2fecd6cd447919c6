//! Every test that the scorecard names, alone in its process, with what it measured: an ordinary run of tests says that a
//! check holds, this one also how far.

mod goals;
mod programs;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Context;
use unipic_measures::Figure;

use crate::Section;
use crate::scorecard::CHECKS;
use goals::{Goal, of_test};
use programs::Programs;

/// A test that takes longer hangs; the longest takes half a minute.
const LIMIT: Duration = Duration::from_secs(600);

/// A test that was run.
#[derive(Clone)]
struct Ran {
    /// Number of its row in the scorecard.
    row: usize,
    /// As the scorecard names it.
    test: &'static str,
    /// Why it did not pass.
    failed: Option<String>,
    took: Duration,
    figures: Vec<Figure>,
}

/// Runs the tests of all rows, or of one.
///
/// # Errors
/// When they do not build, or the figures cannot be gathered. A test that fails or measures what it should not is a miss.
pub async fn checks(row: Option<usize>) -> anyhow::Result<Section> {
    let programs = Programs::build()?;
    let rows = (1..).zip(&CHECKS).filter(|(number, _)| row.is_none_or(|row| row == *number));
    let tests: Vec<_> = rows.flat_map(|(number, check)| check.tests.iter().map(move |test| (number, *test))).collect();
    let mut all = Vec::new();
    for (n, (row, test)) in (1..).zip(&tests) {
        let ran = match all.iter().find(|ran: &&Ran| ran.test == *test) {
            // It holds an earlier row as well.
            Some(ran) => Ran { row: *row, ..ran.clone() },
            None => ran(&programs, *row, test).await?,
        };
        eprintln!("[{n}/{}] {row}: {test}: {}, {:.1} s", tests.len(), ran.result(), ran.took.as_secs_f64());
        all.push(ran);
    }
    Ok(section(&all))
}

async fn ran(programs: &Programs, row: usize, test: &'static str) -> anyhow::Result<Ran> {
    // A file for each: what a test states is its own, whoever else runs.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures");
    let began = Instant::now();
    let failed = match programs.find(test) {
        Ok(found) => {
            let mut command = found.command();
            command.env(unipic_measures::FILE, &file);
            outcome(command.into()).await?
        }
        Err(error) => Some(format!("{error:#}")),
    };
    let took = began.elapsed();
    let (source, function) = test.split_once("::").context("a test is a file and a function")?;
    let mut figures = unipic_measures::read(&file)?;
    figures.retain(|figure| (figure.file.as_str(), figure.test.as_str()) == (source, function));
    Ok(Ran { row, test, failed, took, figures })
}

/// Why a test did not pass; what it said is on standard error then.
async fn outcome(mut command: tokio::process::Command) -> anyhow::Result<Option<String>> {
    let output = match tokio::time::timeout(LIMIT, command.kill_on_drop(true).output()).await {
        Ok(output) => output.with_context(|| format!("run {command:?}"))?,
        Err(_) => return Ok(Some(format!("still running after {} s", LIMIT.as_secs()))),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    // A filter that meets nothing, or a test that is ignored, ends well too.
    if output.status.success() && said.contains("1 passed") {
        return Ok(None);
    }
    eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(Some(if output.status.success() { "was not run".into() } else { "failed".into() }))
}

impl Ran {
    fn result(&self) -> &str {
        self.failed.as_deref().unwrap_or("passed")
    }

    /// All figures in a cell, with the goals of those that have one.
    fn measured(&self) -> String {
        let told = |figure: &Figure| {
            let goal = of_test(self.test).find(|goal| goal.figure == figure.name);
            let goal = goal.map(|goal| format!(" (goal {})", goal.bound)).unwrap_or_default();
            format!("{}: {}{goal}", figure.name, figure.value)
        };
        self.figures.iter().map(told).collect::<Vec<_>>().join("; ")
    }

    /// What is missed, each in a line.
    fn misses(&self) -> Vec<String> {
        let miss = |what: String| format!("{}: `{}`: {what}", self.row, shown(self.test));
        if let Some(failed) = &self.failed {
            return vec![miss(failed.clone())];
        }
        let of_goal = |goal: &Goal| goal.miss(&self.figures).map(miss);
        let mut misses: Vec<String> = of_test(self.test).filter_map(of_goal).collect();
        if self.figures.is_empty() && CHECKS[self.row - 1].run.is_none() {
            misses.push(miss("states no figure".into()));
        }
        misses
    }
}

/// A test by its function, and by its file where the scorecard has another of that name.
fn shown(test: &str) -> &str {
    let function = |test| str::rsplit(test, "::").next().unwrap_or(test);
    let mut all = CHECKS.iter().flat_map(|check| check.tests);
    let has_namesake = all.any(|other| *other != test && function(other) == function(test));
    if has_namesake { test } else { test.rsplit("::").next().unwrap_or(test) }
}

/// What a report says that a test of a row measured; none where it does not say that the test passed.
#[cfg(test)]
pub(crate) fn reported<'a>(report: &'a str, row: usize, test: &str) -> Option<&'a str> {
    let (_, from) = report.split_once("<!-- begin checks -->")?;
    let (section, _) = from.split_once("<!-- end checks -->")?;
    let begin = format!("| {row} | `{}` | passed | ", shown(test));
    let rest = section.lines().find_map(|line| line.strip_prefix(&begin))?;
    Some(rest.split_once(" | ")?.1.trim_end_matches(" |"))
}

fn section(all: &[Ran]) -> Section {
    let tests: BTreeMap<_, _> = all.iter().map(|ran| (ran.test, ran)).collect();
    let took: f64 = tests.values().map(|ran| ran.took.as_secs_f64()).sum();
    let n_figures: usize = tests.values().map(|ran| ran.figures.len()).sum();
    let passed = tests.values().filter(|ran| ran.failed.is_none()).count();
    let mut text = format!(
        "The tests that the scorecard names, each alone in its process: {passed} of {} passed in {took:.0} s, and stated \
         {n_figures} figures. `tests/chaos/src/scorecard.rs` says where each stands, and `tests/chaos/src/checks/goals.rs` which \
         figures have a goal.\n\n\
         | # | test | result | s | measured |\n| --- | --- | --- | --- | --- |\n",
        tests.len(),
    );
    for ran in all {
        let (seconds, measured) = (ran.took.as_secs_f64(), ran.measured().replace('|', "\\|"));
        // Writing to a string does not fail.
        let _ =
            writeln!(text, "| {} | `{}` | {} | {seconds:.1} | {measured} |", ran.row, shown(ran.test), ran.result());
    }
    Section {
        name: "checks",
        title: "What the tests measured",
        text,
        misses: all.iter().flat_map(Ran::misses).collect(),
    }
}
