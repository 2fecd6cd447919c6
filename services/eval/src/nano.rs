//! The evaluation of the shapes world: held-out prompts, edits, questions and captions, judged by pixels and words alone.
//!
//! The six kinds of prompt are GenEval's, and so is the rule: everything as asked for, and nothing else. What is held out
//! is decided by the world, so no recipe of training can have seen it. The results go into one folder: every image,
//! `report.json`, `report.md`, `items.jsonl` with every verdict, and `sheet.png`, a picture of pictures to look at, because
//! a score hides how things are wrong.

mod confusion;
mod font;
mod item;
mod report;
mod sheet;
mod task;

use std::time::Instant;

use serde::Serialize;
use unipic_world::{Difficulty, Sampler, Split};

pub use confusion::{Confusions, Table};
pub use item::{Item, Section};
pub use report::{Edits, Made, Report};

use crate::files::Folder;
use crate::jobs;
use crate::manifest::{Manifest, sha256, to_json};
use crate::{Artist, EvalError, Progress, Run};
use task::{Task, Tools};

/// A run over the shapes world.
#[derive(Debug, Clone, PartialEq)]
pub struct Nano {
    /// Seed of the prompts. The run's own seed is that of the images.
    pub world_seed: u64,
    /// What prompts and scenes are drawn from; the one that the model was trained with, or a harder one.
    pub difficulty: Difficulty,
    /// Prompts of each of the six categories.
    pub per_category: u64,
    /// Edits of each kind; 0 for none.
    pub per_edit: u64,
    /// Questions of each kind; 0 for none.
    pub per_question: u64,
    /// Captions; 0 for none.
    pub captions: u64,
    /// Images of each group on the contact sheet; 0 for no sheet.
    pub on_sheet: usize,
    /// Folder, seed and sampling. Images must be square. The limit is on the prompts of each group.
    pub run: Run,
}

impl Nano {
    /// A run into `run.out` as it is reported: 50 prompts of each category, 20 edits and 20 questions of each kind, and 50
    /// captions.
    #[must_use]
    pub fn new(difficulty: Difficulty, run: Run) -> Self {
        let (per_category, per_edit, per_question, captions) = (50, 20, 20, 50);
        Self { world_seed: 0, difficulty, per_category, per_edit, per_question, captions, on_sheet: 8, run }
    }
}

/// What changes a verdict, beside the run's own parameters. How many there are of each is left out: more of them may be
/// added to a folder.
#[derive(Serialize)]
struct Parameters<'a> {
    seed: u64,
    world_seed: u64,
    label: &'a str,
    difficulty: &'a Difficulty,
    #[serde(flatten)]
    settings: &'a crate::Settings,
}

/// Draws, edits, asks, judges and writes everything down.
///
/// # Errors
/// When a setting has no sense, the folder holds another run, the model does not answer at all, or a file cannot be
/// written. Items that failed are in the report.
pub async fn run(config: &Nano, artist: &impl Artist, progress: &Progress<'_>) -> Result<Report, EvalError> {
    Ok(run_items(config, artist, progress).await?.0)
}

/// As [`run`], and the items that were judged.
///
/// # Errors
/// As [`run`]'s.
pub async fn run_items(
    config: &Nano,
    artist: &impl Artist,
    progress: &Progress<'_>,
) -> Result<(Report, Vec<Item>), EvalError> {
    let began = Instant::now();
    config
        .difficulty
        .check()
        .map_err(|error| EvalError::setting("difficulty", error, "one whose knobs are in range"))?;
    if config.run.in_flight == 0 {
        return Err(EvalError::setting("in flight", 0, "at least 1"));
    }
    let model = artist.model().await.map_err(EvalError::Model)?;
    let settings = config.run.sampling.resolve(&model)?;
    if settings.width != settings.height {
        let size = format!("{}x{}", settings.width, settings.height);
        return Err(EvalError::setting("size", size, "square, as the pictures of the shapes world are"));
    }
    let Run { seed, label, .. } = &config.run;
    let (world_seed, difficulty) = (config.world_seed, &config.difficulty);
    let parameters = Parameters { seed: *seed, world_seed, label, difficulty, settings: &settings };
    let manifest = Manifest::new("nano", &parameters, sha256([]), &model)?;
    let folder = Folder::open(&config.run.out)?;
    manifest.claim(&folder)?;

    let sampler = Sampler::new(config.world_seed, config.difficulty.clone(), Split::HeldOut);
    let tools = Tools { artist, sampler: &sampler, folder: &folder, settings: &settings, seed: *seed };
    let jobs = Task::all(config).into_iter().map(|task| (task.name(), task)).collect();
    let (items, outcome) = jobs::run(jobs, config.run.in_flight, progress, |task| tools.perform(task)).await?;
    let items: Vec<Item> = items.into_iter().flatten().collect();

    let made = Made { model: (&model).into(), settings, label: label.clone(), seed: *seed, world_seed };
    let report = Report::new(made, &items, outcome, began.elapsed());
    write(config, &folder, &report, &items)?;
    folder.close();
    Ok((report, items))
}

fn write(config: &Nano, folder: &Folder, report: &Report, items: &[Item]) -> Result<(), EvalError> {
    folder.write("report.json", &to_json(report)?)?;
    folder.write("report.md", report.markdown().as_bytes())?;
    let mut lines = Vec::new();
    for item in items {
        let line = serde_json::to_string(item).map_err(|error| EvalError::Defect(format!("no JSON: {error}")))?;
        lines.push(line + "\n");
    }
    folder.write("items.jsonl", lines.concat().as_bytes())?;
    if config.on_sheet > 0
        && let Some(sheet) = sheet::draw(folder, items, config.on_sheet)?
    {
        folder.write("sheet.png", &sheet)?;
    }
    Ok(())
}
