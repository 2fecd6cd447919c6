//! One line of a file of rows.
//!
//! The forms are those that curation reads and writes: `{"image", "caption"}`, `{"image", "conversation": [{"role", "text"},
//! …]}` and `{"source", "target", "instruction"}`. Other fields are left alone.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unipic_models::prompt::Role;

/// Bytes of text in a row at most: some thousands of tokens, behind which a sequence would not fit into memory.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// What a row teaches, with the paths of its pictures made whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// A picture and what it shows.
    Caption { image: PathBuf, caption: String },
    /// What was said about a picture up to the last question, and the answer to it.
    Conversation { image: PathBuf, said: Vec<(Role, String)>, answer: String },
    /// A picture, what is to be done to it, and the picture that comes of it.
    Edit { source: PathBuf, target: PathBuf, instruction: String },
}

/// Why a row is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// It is no JSON object, or lacks a field, or has one of another kind.
    Unparsable,
    /// A picture is not there or cannot be read.
    MissingFile,
    /// A text is empty.
    EmptyText,
    /// There is too much text.
    LongText,
    /// A picture's file is there and is no picture that we read.
    Undecodable,
}

impl Reason {
    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unparsable => "unparsable",
            Self::MissingFile => "missing_file",
            Self::EmptyText => "empty_text",
            Self::LongText => "long_text",
            Self::Undecodable => "undecodable",
        }
    }
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: Reason,
    /// In words.
    pub(super) why: String,
}

impl Fault {
    pub(super) fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }
}

/// A row that was not used, as it stands in `bad-rows.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BadRow {
    /// The stage's number, from 0.
    pub(crate) stage: usize,
    /// The file of rows.
    pub(crate) rows: PathBuf,
    /// The line, from 1.
    pub(crate) line: usize,
    pub(crate) reason: Reason,
    /// In words.
    pub(crate) why: String,
}

/// A turn as it is written; the names that other datasets use are understood too.
#[derive(Deserialize)]
struct Said {
    #[serde(alias = "from")]
    role: Speaker,
    #[serde(alias = "content", alias = "value")]
    text: String,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    #[serde(alias = "human")]
    User,
    #[serde(alias = "gpt")]
    Assistant,
}

/// Reads a row; its paths are relative to `folder`.
///
/// # Errors
/// What is wrong with it. Pictures are not decoded yet.
pub(super) fn read(line: &[u8], folder: &Path) -> Result<Lesson, Fault> {
    let unparsable = |why: String| Fault::new(Reason::Unparsable, why);
    let value = serde_json::from_slice(line).map_err(|e| unparsable(format!("no JSON: {e}")))?;
    let Value::Object(fields) = value else { return Err(unparsable("no JSON object".into())) };
    let lesson = lesson(&fields, folder)?;
    let n_bytes = match &lesson {
        Lesson::Caption { caption: text, .. } | Lesson::Edit { instruction: text, .. } => text.len(),
        Lesson::Conversation { said, answer, .. } => {
            said.iter().map(|(_, text)| text.len()).sum::<usize>() + answer.len()
        }
    };
    if n_bytes > MAX_TEXT_BYTES {
        return Err(Fault::new(Reason::LongText, format!("{n_bytes} bytes of text are above {MAX_TEXT_BYTES}")));
    }
    Ok(lesson)
}

fn lesson(fields: &Map<String, Value>, folder: &Path) -> Result<Lesson, Fault> {
    if ["source", "target", "instruction"].iter().any(|name| fields.contains_key(*name)) {
        return Ok(Lesson::Edit {
            source: image(fields, "source", folder)?,
            target: image(fields, "target", folder)?,
            instruction: text(fields, "instruction")?,
        });
    }
    let image = image(fields, "image", folder)?;
    let Some(turns) = fields.get("conversation") else {
        return Ok(Lesson::Caption { image, caption: text(fields, "caption")? });
    };
    let (said, answer) = conversation(turns)?;
    Ok(Lesson::Conversation { image, said, answer })
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<String, Fault> {
    match fields.get(name) {
        Some(Value::String(text)) => filled(text, name),
        Some(other) => Err(Fault::new(Reason::Unparsable, format!("`{name}` is {}, not a text", kind(other)))),
        None => Err(Fault::new(Reason::Unparsable, format!("`{name}` is missing"))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The text without what is around it; there has to be some.
fn filled(text: &str, name: &str) -> Result<String, Fault> {
    match text.trim() {
        "" => Err(Fault::new(Reason::EmptyText, format!("`{name}` is empty"))),
        text => Ok(text.to_owned()),
    }
}

/// A picture's path. The file is opened, so that one without permission is told at the start and not days later.
fn image(fields: &Map<String, Value>, name: &str, folder: &Path) -> Result<PathBuf, Fault> {
    let path = folder.join(text(fields, name)?);
    let missing = |why: String| Fault::new(Reason::MissingFile, format!("`{name}`: {}: {why}", path.display()));
    let about = File::open(&path).and_then(|file| file.metadata()).map_err(|e| missing(e.to_string()))?;
    if about.is_file() { Ok(path) } else { Err(missing("it is no file".into())) }
}

/// The turns up to the last answer: what stands behind it is nothing to learn. The first is the user's, and so is the one
/// before the answer. Curation judges alike.
fn conversation(turns: &Value) -> Result<(Vec<(Role, String)>, String), Fault> {
    let unparsable = |why: String| Fault::new(Reason::Unparsable, format!("`conversation`: {why}"));
    let mut turns = Vec::<Said>::deserialize(turns).map_err(|e| unparsable(e.to_string()))?;
    turns.truncate(turns.iter().rposition(|turn| turn.role == Speaker::Assistant).map_or(0, |last| last + 1));
    let expected = [Speaker::User, Speaker::Assistant].into_iter().cycle();
    if turns.is_empty() || turns.len() % 2 == 1 || turns.iter().zip(expected).any(|(turn, role)| turn.role != role) {
        return Err(unparsable("there must be a user's turn and an assistant's, in alternation".into()));
    }
    // The mark for the image is part of other training formats, not of what was said.
    let text = |turn: &Said| filled(&turn.text.replace("<image>", ""), "conversation");
    let mut said = Vec::with_capacity(turns.len());
    for turn in &turns {
        let role = if turn.role == Speaker::User { Role::User } else { Role::Assistant };
        said.push((role, text(turn)?));
    }
    match said.pop() {
        Some((_, answer)) => Ok((said, answer)),
        None => Err(unparsable("it is empty".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), "x").unwrap();
        folder
    }

    fn read_in(folder: &Path, line: &str) -> Result<Lesson, Fault> {
        read(line.as_bytes(), folder)
    }

    #[test]
    fn the_three_forms_are_read() {
        let folder = folder();
        let image = folder.path().join("a.png");
        let read = |line| read_in(folder.path(), line).unwrap();
        let caption = read(r#"{"image": "a.png", "caption": " a star ", "id": 7}"#);
        assert_eq!(caption, Lesson::Caption { image: image.clone(), caption: "a star".into() });
        let edit = read(r#"{"source": "a.png", "instruction": "turn", "target": "a.png"}"#);
        assert!(matches!(edit, Lesson::Edit { instruction, .. } if instruction == "turn"));
        let turns = read(
            r#"{"image": "a.png", "conversation": [{"role": "user", "text": "<image>\nwhat?"},
            {"role": "assistant", "text": "a star"}, {"from": "human", "value": "red?"}, {"from": "gpt", "value": "yes"},
            {"role": "user", "text": "sure?"}]}"#,
        );
        let said = [(Role::User, "what?"), (Role::Assistant, "a star"), (Role::User, "red?")];
        let said = said.map(|(role, text)| (role, text.to_owned())).to_vec();
        assert_eq!(turns, Lesson::Conversation { image, said, answer: "yes".into() });
    }

    #[test]
    fn bad_rows_are_told_by_reason() {
        let folder = folder();
        let long = format!(r#"{{"image": "a.png", "caption": "{}"}}"#, "x".repeat(MAX_TEXT_BYTES + 1));
        let turns = |turns: &str| format!(r#"{{"image": "a.png", "conversation": [{turns}]}}"#);
        let (user, assistant) = (r#"{"role": "user", "text": "u"}"#, r#"{"role": "assistant", "text": "a"}"#);
        let cases = [
            (r#"{"image": "a.png", "caption"#.to_owned(), Reason::Unparsable, "no JSON"),
            ("[1]".into(), Reason::Unparsable, "object"),
            ("{}".into(), Reason::Unparsable, "`image` is missing"),
            (r#"{"image": 3, "caption": "x"}"#.into(), Reason::Unparsable, "a number"),
            (r#"{"image": "b.png", "caption": "x"}"#.into(), Reason::MissingFile, "b.png"),
            (r#"{"image": ".", "caption": "x"}"#.into(), Reason::MissingFile, "no file"),
            (r#"{"image": "a.png", "caption": " "}"#.into(), Reason::EmptyText, "`caption`"),
            (r#"{"source": "a.png", "target": "a.png", "instruction": ""}"#.into(), Reason::EmptyText, "`instruction`"),
            (r#"{"source": "a.png", "instruction": "x"}"#.into(), Reason::Unparsable, "`target` is missing"),
            (long, Reason::LongText, "above"),
            (turns(""), Reason::Unparsable, "alternation"),
            (turns(user), Reason::Unparsable, "alternation"),
            (turns(assistant), Reason::Unparsable, "alternation"),
            (turns(&[user, user, assistant].join(",")), Reason::Unparsable, "alternation"),
            (turns(r#"{"role": "system", "text": "u"}"#), Reason::Unparsable, "system"),
            (turns(&[r#"{"role": "user", "text": "<image>"}"#, assistant].join(",")), Reason::EmptyText, "empty"),
            (turns(&[user, r#"{"role": "assistant", "text": " "}"#].join(",")), Reason::EmptyText, "empty"),
        ];
        for (line, reason, what) in cases {
            let fault = read_in(folder.path(), &line).unwrap_err();
            assert!(fault.reason == reason && fault.why.contains(what), "{line}: {fault:?}");
        }
        assert_eq!(read(b"\xff\xfe", folder.path()).unwrap_err().reason, Reason::Unparsable);
    }
}
