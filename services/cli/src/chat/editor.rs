//! Lines typed at a terminal, with editing, history and completion. Pipes never come here.

use std::path::PathBuf;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Behavior, Config, Context, Editor, Helper};

use super::command::NAMES;

/// Before what is typed.
const PROMPT: &str = "> ";

/// Lines that are remembered.
const MAX_HISTORY: usize = 1000;

/// What a person typed, or that there is no more.
pub(super) enum Typed {
    Line(String),
    /// Ctrl-c.
    Interrupt,
    /// Ctrl-d, or a terminal that is gone.
    End,
}

/// A line editor with its history, which is kept in a file from one conversation to the next.
pub(super) struct Prompt {
    editor: Editor<Completion, DefaultHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    /// Opens the terminal. A history that cannot be read is begun anew.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub(super) fn open(history: Option<PathBuf>) -> rustyline::Result<Self> {
        // The terminal itself: standard output is for answers, and may go into a file.
        let config = Config::builder().behavior(Behavior::PreferTerm).max_history_size(MAX_HISTORY)?;
        let config = config.history_ignore_space(true).build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Completion(FilenameCompleter::new())));
        if let Some(file) = &history {
            // There is none at the first time.
            let _ = editor.load_history(file);
        }
        Ok(Self { editor, history })
    }

    /// Waits for a line.
    pub(super) fn line(&mut self) -> Typed {
        match self.editor.readline(PROMPT) {
            Ok(line) => {
                self.remember(&line);
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => Typed::Interrupt,
            Err(_) => Typed::End,
        }
    }

    /// Writes every line at once: conversations end in many ways. What cannot be written is not worth a word.
    fn remember(&mut self, line: &str) {
        let is_new = self.editor.add_history_entry(line).unwrap_or(false);
        if let (true, Some(file)) = (is_new, &self.history) {
            let _ = file.parent().map_or(Ok(()), std::fs::create_dir_all);
            let _ = self.editor.append_history(file);
        }
    }
}

/// Completes commands, and names of files behind those that take one.
struct Completion(FilenameCompleter);

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..at];
        match typed.split_once(' ') {
            None if typed.starts_with('/') => {
                let fitting = NAMES.iter().filter(|name| name.starts_with(&typed[1..]));
                let pair = |name: &&str| Pair { display: format!("/{name}"), replacement: format!("/{name} ") };
                Ok((0, fitting.map(pair).collect()))
            }
            Some(("/image" | "/save", _)) => self.0.complete(line, at, context),
            _ => Ok((at, Vec::new())),
        }
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}

impl Validator for Completion {}

impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let history = DefaultHistory::new();
        let completion = Completion(FilenameCompleter::new());
        let (_, pairs) = completion.complete(line, line.len(), &Context::new(&history)).unwrap();
        pairs.into_iter().map(|pair| pair.replacement).collect()
    }

    #[test]
    fn commands_and_files_are_completed_and_questions_are_not() {
        assert_eq!(completed("/dr"), ["/draw "]);
        assert_eq!(completed("/"), NAMES.map(|name| format!("/{name} ")));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("circle.png"), "").unwrap();
        let start = dir.path().join("cir").display().to_string();
        assert_eq!(completed(&format!("/image {start}")), [dir.path().join("circle.png").display().to_string()]);
        assert_eq!(completed(&format!("What is {start}")), [""; 0]);
        assert_eq!(completed("What"), [""; 0]);
    }
}
