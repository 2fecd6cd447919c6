//! Lines of standard input, read by a thread of their own: a read that waits must not keep the program from ending.

use std::io::{BufRead, IsTerminal, Read, Write};

use tokio::sync::mpsc;

/// Most bytes of a line: a prompt ends far below, and one without end must not fill the memory.
const MAX_BYTES: u64 = 1 << 20;

/// What a person or a script types.
#[derive(Debug)]
pub(super) struct Lines {
    receiver: mpsc::Receiver<Result<String, String>>,
    /// Somebody sits there.
    is_interactive: bool,
}

impl Lines {
    /// Begins to read. The thread ends with the input, or with the program.
    pub(super) fn of_standard_input() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let is_interactive = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        std::thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            while let Some(line) = next(&mut input) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        Self { receiver, is_interactive }
    }

    /// Whether somebody sits there.
    pub(super) fn is_interactive(&self) -> bool {
        self.is_interactive
    }

    /// The next line, after a prompt where somebody sits there; `None` at the end. Errors say what is wrong with the line.
    pub(super) async fn next(&mut self) -> Option<Result<String, String>> {
        if self.is_interactive {
            eprint!("> ");
            // A prompt that does not show is no reason to stop.
            let _ = std::io::stderr().flush();
        }
        self.receiver.recv().await
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
