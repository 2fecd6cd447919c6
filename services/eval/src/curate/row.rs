//! A row of a dataset: a picture with its words, a conversation about one, or an edit.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
use unipic_world::Claim;

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What it teaches.
    pub task: Task,
    /// What the words ask for, where the row says it in the shapes world's form (its field `claim`).
    pub claim: Option<Claim>,
}

/// What a row teaches, with the paths of its images made whole.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// `{"image", "caption"}`.
    Caption {
        /// The picture.
        image: PathBuf,
        /// What it shows.
        caption: String,
    },
    /// `{"image", "conversation": [{"role": "user" | "assistant", "text"}, ..]}`.
    Conversation {
        /// The picture.
        image: PathBuf,
        /// Questions and answers in alternation, an answer last.
        turns: Vec<Turn>,
    },
    /// `{"source", "target", "instruction"}`.
    Edit {
        /// The picture before.
        source: PathBuf,
        /// The picture after.
        target: PathBuf,
        /// What was changed.
        instruction: String,
    },
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The question.
    pub question: String,
    /// The answer.
    pub answer: String,
}

/// A turn as it is written; the names that other datasets use are understood too.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(alias = "from")]
    role: String,
    #[serde(alias = "content", alias = "value")]
    text: String,
}

/// The fields of a row that are paths.
pub(crate) const PATHS: [&str; 3] = ["image", "source", "target"];

impl Row {
    /// Reads a row. Images must be there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(line: &str, folder: &Path) -> Result<Self, String> {
        let Value::Object(fields) = serde_json::from_str(line).map_err(|error| format!("no JSON: {error}"))? else {
            return Err("no JSON object".to_owned());
        };
        let claim = match fields.get("claim") {
            None | Some(Value::Null) => None,
            Some(claim) => {
                let claim = Claim::deserialize(claim).map_err(|error| format!("`claim` is no claim: {error}"))?;
                Some(claim)
            }
        };
        Ok(Self { task: task(&fields, folder)?, claim })
    }
}

fn task(fields: &Map<String, Value>, folder: &Path) -> Result<Task, String> {
    if ["source", "target", "instruction"].iter().any(|name| fields.contains_key(*name)) {
        return Ok(Task::Edit {
            source: image(fields, "source", folder)?,
            target: image(fields, "target", folder)?,
            instruction: text(fields, "instruction")?,
        });
    }
    let image = image(fields, "image", folder)?;
    match fields.get("conversation") {
        Some(turns) => Ok(Task::Conversation { image, turns: conversation(turns)? }),
        None => Ok(Task::Caption { image, caption: text(fields, "caption")? }),
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    match fields.get(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Some(Value::String(_)) => Err(format!("`{name}` is empty")),
        Some(other) => Err(format!("`{name}` is {other}, not a text")),
        None => Err(format!("`{name}` is missing")),
    }
}

fn image(fields: &Map<String, Value>, name: &str, folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join(text(fields, name)?);
    match path.is_file() {
        true => Ok(path),
        false => Err(format!("`{name}`: there is no image `{}`", path.display())),
    }
}

/// Questions with their answers, judged as the trainer judges them: what stands behind the last answer is nothing to learn,
/// and is left alone; every question and every answer has words.
fn conversation(turns: &Value) -> Result<Vec<Turn>, String> {
    let mut said = Vec::<Said>::deserialize(turns).map_err(|error| format!("`conversation` is none: {error}"))?;
    let n_turns = said.len();
    said.truncate(said.iter().rposition(Said::is_answer).map_or(0, |last| last + 1));
    let (pairs, rest) = said.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return Err(format!("`conversation` has {n_turns} turns; each question must have its answer, in alternation"));
    }
    pairs.iter().map(|[question, answer]| turn(question, answer)).collect()
}

fn turn(question: &Said, answer: &Said) -> Result<Turn, String> {
    if !question.is_question() || !answer.is_answer() {
        return Err(format!("`conversation`: `{}` then `{}`, not user then assistant", question.role, answer.role));
    }
    Ok(Turn { question: question.words()?, answer: answer.words()? })
}

impl Said {
    fn is_question(&self) -> bool {
        ["user", "human"].contains(&self.role.as_str())
    }

    fn is_answer(&self) -> bool {
        ["assistant", "gpt"].contains(&self.role.as_str())
    }

    /// The mark for the image is part of the training format, not of what was said.
    fn words(&self) -> Result<String, String> {
        match self.text.replace("<image>", "").trim() {
            "" => Err(format!("`conversation`: a turn of `{}` is empty", self.role)),
            words => Ok(words.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Row, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.png"), "x").unwrap();
        Row::read(line, dir.path())
    }

    #[test]
    fn the_three_kinds_are_read() {
        let caption = read(r#"{"image": "a.png", "caption": " a star "}"#).unwrap().task;
        assert!(matches!(&caption, Task::Caption { caption, .. } if caption == "a star"), "{caption:?}");
        let edit = read(r#"{"source": "a.png", "target": "a.png", "instruction": "x"}"#).unwrap().task;
        assert!(matches!(edit, Task::Edit { .. }));
        for turns in [
            r#"[{"role": "user", "text": "<image>\nwhat?"}, {"role": "assistant", "text": "a star"}]"#,
            r#"[{"from": "human", "value": "what?"}, {"from": "gpt", "value": "a star"}]"#,
            r#"[{"role": "user", "text": "what?"}, {"role": "assistant", "text": "a star"}, {"role": "user", "text": "sure?"}]"#,
        ] {
            let row = read(&format!(r#"{{"image": "a.png", "conversation": {turns}}}"#)).unwrap();
            let Task::Conversation { turns, .. } = row.task else { panic!("{row:?}") };
            assert_eq!(turns, [Turn { question: "what?".into(), answer: "a star".into() }]);
        }
    }

    #[test]
    fn bad_rows_say_what_is_wrong() {
        for (line, part) in [
            ("", "no JSON"),
            ("[]", "no JSON object"),
            ("{}", "`image` is missing"),
            (r#"{"image": 3, "caption": "x"}"#, "`image` is 3"),
            (r#"{"image": "b.png", "caption": "x"}"#, "there is no image"),
            (r#"{"image": "a.png"}"#, "`caption` is missing"),
            (r#"{"image": "a.png", "caption": " "}"#, "`caption` is empty"),
            (r#"{"image": "a.png", "caption": "x", "claim": {"wanted": 3}}"#, "no claim"),
            (r#"{"source": "a.png", "instruction": "x"}"#, "`target` is missing"),
            (r#"{"image": "a.png", "conversation": "x"}"#, "`conversation` is none"),
            (r#"{"image": "a.png", "conversation": []}"#, "0 turns"),
            (r#"{"image": "a.png", "conversation": [{"role": "user", "text": "x"}]}"#, "1 turns"),
            (
                r#"{"image": "a.png", "conversation": [{"role": "user", "text": "x"}, {"role": "user", "text": "x"}]}"#,
                "2 turns; each question must have its answer",
            ),
            (
                r#"{"image": "a.png", "conversation": [{"role": "assistant", "text": "x"}, {"role": "assistant", "text": "x"}]}"#,
                "not user then assistant",
            ),
            (
                r#"{"image": "a.png", "conversation": [{"role": "user", "text": "x"}, {"role": "assistant", "text": " "}]}"#,
                "`assistant` is empty",
            ),
            (
                r#"{"image": "a.png", "conversation": [{"role": "user", "text": "<image>"}, {"role": "gpt", "text": "x"}]}"#,
                "`user` is empty",
            ),
        ] {
            let said = read(line).unwrap_err();
            assert!(said.contains(part), "{line}: {said}");
        }
    }
}
