//! The figures of a run, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::{Confusions, Item, Section};
use crate::{Model, Outcome, Settings, Tally};

/// What was judged, and how it was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Made {
    /// What drew.
    pub model: Model,
    /// How images were sampled.
    pub settings: Settings,
    /// The run's word for what the server does not tell about itself.
    pub label: String,
    /// Seed of the images.
    pub seed: u64,
    /// Seed of the prompts.
    pub world_seed: u64,
}

/// The figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was judged, and how it was made.
    pub made: Made,
    /// Prompts drawn right, by category.
    pub categories: BTreeMap<String, Tally>,
    /// The mean over the categories' shares, as GenEval has it.
    pub overall: f64,
    /// Edits.
    pub edits: Edits,
    /// Questions answered right, by kind.
    pub questions: BTreeMap<String, Tally>,
    /// All questions together.
    pub all_questions: Tally,
    /// Captions that name every object with its colour, as often as it is there.
    pub captions: Tally,
    /// Mean time that the server worked on an image, edits included, in seconds; absent when no image was made now. Images
    /// that are made together are each counted with the whole time.
    pub seconds_per_image: Option<f64>,
    /// What was seen where something else was wanted, in drawings.
    pub confusions: Confusions,
    /// What became of each item.
    pub outcome: Outcome,
    /// Time of this run, in seconds.
    pub seconds: f64,
}

/// The figures of edits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Edits {
    /// Edits done right, by kind.
    pub kinds: BTreeMap<String, Tally>,
    /// All edits together.
    pub all: Tally,
    /// Mean absolute difference of channels, 0 to 255, where nothing should have changed, over all edits; absent when
    /// there are none.
    pub untouched_mean_error: Option<f64>,
}

impl Report {
    pub(crate) fn new(made: Made, items: &[Item], outcome: Outcome, took: Duration) -> Self {
        let categories = groups(items, Section::Drawing);
        let shares = categories.values().map(|tally| tally.share);
        let edits = Edits {
            kinds: groups(items, Section::Edit),
            all: tally(items, Section::Edit),
            untouched_mean_error: mean(items.iter().filter_map(|item| item.untouched_error)),
        };
        Self {
            overall: mean(shares).unwrap_or_default(),
            edits,
            questions: groups(items, Section::Question),
            all_questions: tally(items, Section::Question),
            captions: tally(items, Section::Caption),
            seconds_per_image: mean(items.iter().filter_map(|item| item.seconds)),
            confusions: Confusions::of(items.iter().filter(|item| item.section == Section::Drawing)),
            outcome,
            seconds: took.as_secs_f64(),
            made,
            categories,
        }
    }

    /// Whether everything was asked and judged. A command whose run is not complete must exit as failed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.outcome.is_complete()
    }

    /// The figures as tables in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let Made { model, settings, label, seed, world_seed } = &self.made;
        let label = if label.is_empty() { String::new() } else { format!(" ({label})") };
        let hash = model.weights_sha256.get(..12).unwrap_or(&model.weights_sha256);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "Model {}{label}, weights {hash}; {}x{}, {} iterations, {} head steps, guidance {}, seed {seed}, world seed {world_seed}.\n",
            model.name, settings.width, settings.height, settings.iterations, settings.head_steps, settings.guidance,
        );
        let _ = writeln!(text, "| drawn right | n | share | 95 % interval |\n| --- | --- | --- | --- |");
        self.categories.iter().for_each(|(name, tally)| text += &row(name, tally));
        let _ = writeln!(text, "| overall (mean of categories) | | {:.3} | |", self.overall);
        if self.edits.all.n > 0 {
            let _ = writeln!(text, "\n| edited right | n | share | 95 % interval |\n| --- | --- | --- | --- |");
            self.edits.kinds.iter().for_each(|(name, tally)| text += &row(name, tally));
            text += &row("all", &self.edits.all);
            let error = self.edits.untouched_mean_error.unwrap_or_default();
            let _ = writeln!(text, "\nMean difference where nothing should have changed: {error:.2} of 255.");
        }
        if self.all_questions.n + self.captions.n > 0 {
            let _ = writeln!(text, "\n| understood | n | share | 95 % interval |\n| --- | --- | --- | --- |");
            self.questions.iter().for_each(|(name, tally)| text += &row(name, tally));
            text += &row("all questions", &self.all_questions);
            text += &row("captions naming every object", &self.captions);
        }
        for (name, table) in self.confusions.tables() {
            let _ = writeln!(text, "\n| {name} wanted | seen instead |\n| --- | --- |");
            for (wanted, seen) in table {
                let seen: Vec<String> = seen.iter().map(|(seen, n)| format!("{seen} {n}x")).collect();
                let _ = writeln!(text, "| {wanted} | {} |", seen.join(", "));
            }
        }
        if let Some(seconds) = self.seconds_per_image {
            let _ = writeln!(text, "\n{seconds:.2} s per image.");
        }
        if !self.is_complete() {
            let (failed, left) = (self.outcome.failures.len(), self.outcome.not_tried);
            let _ =
                writeln!(text, "\nNot complete: {failed} failed, {left} were not tried. The figures are of the rest.");
        }
        text
    }
}

fn row(name: &str, tally: &Tally) -> String {
    let [low, high] = tally.interval;
    format!("| {name} | {} | {:.3} | {low:.3} to {high:.3} |\n", tally.n, tally.share)
}

fn of(items: &[Item], section: Section) -> impl Iterator<Item = &Item> {
    items.iter().filter(move |item| item.section == section)
}

fn tally(items: &[Item], section: Section) -> Tally {
    Tally::of(of(items, section).map(|item| item.right))
}

fn groups(items: &[Item], section: Section) -> BTreeMap<String, Tally> {
    let mut right: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for item in of(items, section) {
        right.entry(item.group.clone()).or_default().push(item.right);
    }
    right.into_iter().map(|(group, right)| (group, Tally::of(right))).collect()
}

/// The mean; `None` of none.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}
