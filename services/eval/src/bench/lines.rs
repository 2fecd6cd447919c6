//! Prompt files, read so that whatever is wrong is told with its file and place.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{EvalError, files};

/// A line of a JSON-lines file.
#[derive(Debug, Clone)]
pub(crate) struct Line<T> {
    /// Number of the line, from 1.
    pub(crate) number: usize,
    /// The line as it stands in the file.
    pub(crate) text: String,
    /// What it says.
    pub(crate) value: T,
}

/// Reads a JSON-lines file. Empty lines are allowed at its end only: some readers count lines.
///
/// # Errors
/// [`EvalError::Read`], [`EvalError::Input`] with the first bad line, or when there is no line at all.
pub(crate) fn json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<Line<T>>, EvalError> {
    let text = files::read_text(path)?;
    let lines: Vec<Line<T>> = text
        .trim_end()
        .lines()
        .enumerate()
        .map(|(at, line)| {
            let value = serde_json::from_str(line).map_err(|error| wrong(path, at + 1, said(&error)))?;
            Ok(Line { number: at + 1, text: line.to_owned(), value })
        })
        .collect::<Result<_, EvalError>>()?;
    match lines.is_empty() {
        true => Err(wrong(path, 1, "the file is empty; one JSON object a line was expected")),
        false => Ok(lines),
    }
}

/// An error at a line.
pub(crate) fn wrong(path: &Path, line: usize, problem: impl Into<String>) -> EvalError {
    EvalError::Input { path: path.to_owned(), place: format!("line {line}"), problem: problem.into() }
}

/// What serde found, without its own count of lines, which begins anew in each.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    match error.column() {
        0 => text[..end].to_owned(),
        column => format!("{} (column {column})", &text[..end]),
    }
}

/// Refuses a prompt that the server would refuse. `most` is in bytes; 0 is no limit.
pub(crate) fn check_prompt(prompt: &str, most: u32) -> Result<(), String> {
    if prompt.trim().is_empty() {
        return Err("the prompt is empty".to_owned());
    }
    if most > 0 && prompt.len() > most as usize {
        return Err(format!("the prompt has {} bytes; the model takes {most}", prompt.len()));
    }
    Ok(())
}

/// Refuses a name that is no plain file name: it will be one.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!("the {what} `{name}` cannot be a file name; letters, digits, `-`, `_` and `.` can"));
    }
    Ok(())
}

/// The path of a source image, which must be there and stay below `folder`.
pub(crate) fn source_image(folder: &Path, name: &str) -> Result<PathBuf, String> {
    use std::path::Component;
    let relative = Path::new(name);
    if name.is_empty() || !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("`{name}` is no path below `{}`", folder.display()));
    }
    let path = folder.join(relative);
    match path.is_file() {
        true => Ok(path),
        false => Err(format!("there is no image `{}`", path.display())),
    }
}
