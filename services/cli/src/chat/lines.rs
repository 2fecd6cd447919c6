//! Lines, from a terminal or a pipe, read by a thread of their own: a read that waits must not keep the program from ending.

use std::io::{BufRead, IsTerminal, Read};
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::editor::{Prompt, Typed};
use crate::failure::Stopped;

/// Most bytes of a line: a prompt ends far below, and one without end must not fill the memory.
const MAX_BYTES: u64 = 1 << 20;

/// What a person or a script types.
#[derive(Debug)]
pub(super) struct Lines {
    receiver: mpsc::Receiver<Event>,
    /// Asks for one more line: a prompt must not stand there while an answer is written. None for a pipe, which is read ahead.
    asking: Option<mpsc::Sender<()>>,
}

/// What came of reading one line.
#[derive(Debug)]
enum Event {
    Line(Result<String, String>),
    Interrupt,
}

impl Lines {
    /// Begins to read: with an editor where somebody sits there, which remembers lines in `history`. The thread ends with the
    /// input, or with the program.
    pub(super) fn begin(history: Option<PathBuf>) -> Self {
        let is_interactive = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        // A terminal that cannot be edited on can still be read.
        let prompt = is_interactive.then(|| Prompt::open(history).ok()).flatten();
        let (sender, receiver) = mpsc::channel(1);
        let Some(mut prompt) = prompt else {
            std::thread::spawn(move || read_ahead(&sender));
            return Self { receiver, asking: None };
        };
        let (asking, mut asked) = mpsc::channel(1);
        std::thread::spawn(move || {
            while asked.blocking_recv().is_some() {
                let typed = match prompt.line() {
                    Typed::Line(line) => Event::Line(Ok(line)),
                    Typed::Interrupt => Event::Interrupt,
                    Typed::End => break,
                };
                if sender.blocking_send(typed).is_err() {
                    break;
                }
            }
        });
        Self { receiver, asking: Some(asking) }
    }

    /// Whether somebody sits there.
    pub(super) fn is_interactive(&self) -> bool {
        self.asking.is_some()
    }

    /// The next line, after a prompt where somebody sits there; `None` at the end. The inner error says what is wrong with the
    /// line.
    ///
    /// # Errors
    /// Ctrl-c at the prompt.
    pub(super) async fn next(&mut self) -> Result<Option<Result<String, String>>, Stopped> {
        if let Some(asking) = &self.asking
            && asking.send(()).await.is_err()
        {
            return Ok(None);
        }
        match self.receiver.recv().await {
            Some(Event::Line(line)) => Ok(Some(line)),
            Some(Event::Interrupt) => Err(Stopped),
            None => Ok(None),
        }
    }
}

/// Reads standard input to its end.
fn read_ahead(sender: &mpsc::Sender<Event>) {
    let mut input = std::io::stdin().lock();
    while let Some(line) = next(&mut input) {
        if sender.blocking_send(Event::Line(line)).is_err() {
            break;
        }
    }
}

/// One line without its end.
fn next(input: &mut impl BufRead) -> Option<Result<String, String>> {
    let mut line = Vec::new();
    match input.by_ref().take(MAX_BYTES + 1).read_until(b'\n', &mut line) {
        Ok(0) => None,
        Ok(_) if line.len() as u64 > MAX_BYTES => {
            // Its rest is no line of its own.
            let end = input.skip_until(b'\n');
            end.ok().map(|_| Err(format!("a line is longer than {MAX_BYTES} bytes")))
        }
        Ok(_) => Some(String::from_utf8(line).map_err(|_| "a line is no UTF-8 text".to_owned())),
        Err(error) => {
            eprintln!("error: cannot read standard input: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_they_end_and_bad_ones_are_told() {
        let long = "x".repeat(MAX_BYTES as usize + 10);
        let text = [b"one\ntwo\r\n\xff\n", long.as_bytes(), b"\nlast"].concat();
        let mut input = std::io::Cursor::new(text);
        let lines: Vec<_> = std::iter::from_fn(|| next(&mut input)).collect();
        assert_eq!((lines.len(), &lines[0], &lines[1]), (5, &Ok("one\n".into()), &Ok("two\r\n".into())));
        assert!(lines[2].as_ref().is_err_and(|said| said.contains("UTF-8")));
        assert!(lines[3].as_ref().is_err_and(|said| said.contains("longer")));
        assert_eq!(lines[4], Ok("last".into()));
    }
}
