//! Where a stage's samples come from: drawn by the shapes world, or read from rows of JSON.
//!
//! A stage numbers the samples of each task through, and asks for the sample of a number, its slot. A source answers
//! with a pure function of (seed, stage, slot) and of the files it reads. So threads may ask in any order, and a run that is
//! resumed sees the samples that it would have seen.

mod order;
mod row;
mod rows;
mod shapes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use unipic_imaging::Rgb8;
use unipic_models::prompt::Role;
use unipic_world::Scene;

use crate::TrainError;
use crate::recipe::Stage;
pub(crate) use row::BadRow;
#[cfg(test)]
pub(crate) use row::Reason;
use rows::Rows;
pub(crate) use shapes::BLOCK;
use shapes::Shapes;

/// What a sample teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Understanding,
    Generation,
    Editing,
}

/// A square picture and the words that ask for it.
pub(crate) struct Described {
    pub(crate) picture: Rgb8,
    pub(crate) words: String,
    /// What the shapes world drew.
    pub(crate) scene: Option<Scene>,
    /// The line it stands in, from 1, where it was read.
    pub(crate) line: Option<usize>,
}

/// Two square pictures and what makes one of the other.
pub(crate) struct Edited {
    pub(crate) source: Rgb8,
    pub(crate) target: Rgb8,
    pub(crate) instruction: String,
    /// The source and the target as the shapes world drew them.
    pub(crate) scenes: Option<(Scene, Scene)>,
    pub(crate) line: Option<usize>,
}

/// A square picture, what was said about it up to a question, and the answer.
pub(crate) struct Asked {
    pub(crate) picture: Rgb8,
    /// In order; a user's turn first and last.
    pub(crate) said: Vec<(Role, String)>,
    pub(crate) answer: String,
    pub(crate) scene: Option<Scene>,
    pub(crate) line: Option<usize>,
}

/// Refuses rows that a stage from number `first` on could not learn from, before the first of them takes its hours. Each
/// file is read once for all stages.
///
/// # Errors
/// As [`Source::open`].
pub(crate) fn judge(stages: &[Stage], first: usize, seed: u64) -> Result<(), TrainError> {
    let to_come: Vec<(&Stage, &PathBuf)> =
        stages.iter().skip(first).filter_map(|stage| Some((stage, stage.rows.as_ref()?))).collect();
    let mut judged = BTreeSet::new();
    for (stage, path) in &to_come {
        if judged.insert(path) {
            let rows = Rows::read(path, (seed, 0)).map_err(|error| unreadable(stage, path, &error))?;
            to_come.iter().filter(|(_, other)| other == path).try_for_each(|(stage, _)| check(stage, &rows))?;
        }
    }
    Ok(())
}

/// Refuses rows among which there is nothing for one of the stage's tasks.
fn check(stage: &Stage, rows: &Rows) -> Result<(), TrainError> {
    let mix = stage.joint.as_ref().map(|joint| joint.mix).unwrap_or_default();
    let shares =
        [(Kind::Understanding, mix.understanding), (Kind::Generation, mix.generation), (Kind::Editing, mix.editing)];
    let wanted: Vec<Kind> = shares.into_iter().filter(|(_, share)| *share > 0.0).map(|(kind, _)| kind).collect();
    rows.check(&wanted).map_err(|why| TrainError::Stage { stage: stage.name.clone(), why })
}

/// The error of a stage whose file of rows cannot be read.
pub(crate) fn unreadable(stage: &Stage, path: &Path, error: &std::io::Error) -> TrainError {
    let from = match std::env::current_dir() {
        Ok(folder) if path.is_relative() => format!(" (relative to {})", folder.display()),
        _ => String::new(),
    };
    TrainError::Stage { stage: stage.name.clone(), why: format!("rows: `{}`{from}: {error}", path.display()) }
}

/// A source of samples.
pub(crate) enum Source {
    /// The shapes world.
    Shapes(Shapes),
    /// Rows of JSON.
    Rows(Rows),
}

impl Source {
    /// The source of a stage; `seed` is the run's with the stage's number. Rows are read whole.
    ///
    /// # Errors
    /// When rows cannot be read, or there are none for a task of the stage.
    pub(crate) fn open(stage: &Stage, seed: (u64, usize)) -> Result<Self, TrainError> {
        let Some(path) = &stage.rows else { return Ok(Self::Shapes(Shapes::new(stage, seed))) };
        let rows = Rows::read(path, seed).map_err(|error| unreadable(stage, path, &error))?;
        check(stage, &rows)?;
        Ok(Self::Rows(rows))
    }

    /// Which sample a slot of a task holds: the same position is the same sample.
    pub(crate) fn position(&self, kind: Kind, slot: u64) -> u64 {
        match self {
            Self::Shapes(shapes) => shapes.position(kind, slot),
            Self::Rows(rows) => rows.position(kind, slot),
        }
    }

    /// Whether positions of generation and editing come again while no more than so many others lie between.
    pub(crate) fn is_repeated(&self, kept: u64) -> bool {
        match self {
            Self::Shapes(shapes) => shapes.is_repeated(),
            Self::Rows(rows) => rows.n_drawn() <= kept,
        }
    }

    /// The sample of a position, `side` pixels a side: a picture cut to its central square.
    ///
    /// # Errors
    /// When the disk fails, or no picture of the rows can be decoded.
    pub(crate) fn generation(&self, position: u64, side: usize) -> Result<Described, TrainError> {
        match self {
            Self::Shapes(shapes) => Ok(shapes.generation(position, side)),
            Self::Rows(rows) => rows.generation(position, side),
        }
    }

    /// The edit of a position, likewise.
    ///
    /// # Errors
    /// As [`Source::generation`].
    pub(crate) fn editing(&self, position: u64, side: usize) -> Result<Edited, TrainError> {
        match self {
            Self::Shapes(shapes) => Ok(shapes.editing(position, side)),
            Self::Rows(rows) => rows.editing(position, side),
        }
    }

    /// The question of a position; its picture is padded to a square.
    ///
    /// # Errors
    /// As [`Source::generation`].
    pub(crate) fn understanding(&self, position: u64, side: usize) -> Result<Asked, TrainError> {
        match self {
            Self::Shapes(shapes) => Ok(shapes.understanding(position, side)),
            Self::Rows(rows) => rows.understanding(position, side),
        }
    }

    /// A picture without words, cut to its central square.
    ///
    /// # Errors
    /// As [`Source::generation`].
    pub(crate) fn picture(&self, slot: u64, side: usize) -> Result<Rgb8, TrainError> {
        match self {
            Self::Shapes(shapes) => Ok(shapes.generation(slot, side).picture),
            Self::Rows(rows) => rows.picture(slot, side),
        }
    }

    /// What a picture without words is called in a report: its line, or the prompt it was drawn for.
    pub(crate) fn named(&self, slot: u64) -> serde_json::Value {
        match self {
            Self::Shapes(shapes) => shapes.prompt(slot).into(),
            Self::Rows(rows) => rows.picture_line(slot).into(),
        }
    }

    /// Prompts to draw for a look at what has been learnt, and how many of them go in a row.
    pub(crate) fn prompts_to_show(&self) -> (Vec<String>, usize) {
        match self {
            Self::Shapes(shapes) => shapes.prompts_to_show(),
            Self::Rows(rows) => rows.prompts_to_show(),
        }
    }

    /// Rows that were of no use so far, in the order of their lines.
    pub(crate) fn bad_rows(&self) -> Vec<BadRow> {
        match self {
            Self::Shapes(_) => Vec::new(),
            Self::Rows(rows) => rows.bad(),
        }
    }

    /// How many they are, by reason.
    pub(crate) fn bad_row_counts(&self) -> BTreeMap<String, usize> {
        match self {
            Self::Shapes(_) => BTreeMap::new(),
            Self::Rows(rows) => rows.bad_counts(),
        }
    }
}
