//! One thing that was asked for, and what came of it.

use std::path::PathBuf;

use serde::Serialize;
use unipic_world::{Claim, Seen};

/// What kind of work an item was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Drawing a prompt.
    Drawing,
    /// Editing a picture.
    Edit,
    /// Answering a question.
    Question,
    /// Describing a picture.
    Caption,
}

/// One thing that was asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// What kind of work it was.
    pub section: Section,
    /// The category of the prompt, or the kind of edit or question.
    pub group: String,
    /// Number within the group.
    pub index: u64,
    /// The prompt, the instruction or the question.
    pub prompt: String,
    /// Whether the result is right.
    pub right: bool,
    /// Why not, or what was answered.
    pub said: String,
    /// The answer or caption that the world gives; questions and captions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What the picture had to show; drawings and edits only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// What was seen in the picture; drawings and edits only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// Mean absolute difference of channels, 0 to 255, where an edit should have changed nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untouched_error: Option<f64>,
    /// The files in the run's folder: the picture, or the source and the result of an edit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<PathBuf>,
    /// Time that the server worked on it, in seconds; absent for images of an earlier run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}
