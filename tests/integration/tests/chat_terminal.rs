//! `unipic chat` at a terminal: editing, history, completion. The terminal is made by `script`; where that is not, nothing is
//! tested, and said not to be.
#![allow(clippy::expect_used, reason = "a test that cannot look has failed")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use integration::processes::{binary, model};
use unipic_imaging::{Format, Rgb8, encode};

/// Longest that anything may take, the start of the model included.
const PATIENCE: Duration = Duration::from_secs(60);

const UP: &str = "\u{1b}[A";
const RIGHT: &str = "\u{1b}[C";
const TO_START: &str = "\u{1}";
const DELETE: &str = "\u{4}";
const INTERRUPT: &str = "\u{3}";

/// A conversation at a terminal.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts a conversation in a folder, whose lines are remembered there.
    fn start(dir: &Path, args: &str) -> anyhow::Result<Self> {
        let (unipic, model) = (binary("unipic")?, model());
        let command = format!("'{}' chat --history lines --model '{}' {args}", unipic.display(), model.display());
        let mut script = Command::new("script");
        script
            .args(["-qefc", &command, "/dev/null"])
            .current_dir(dir)
            .env("TERM", "xterm")
            .env("UNIPIC_PREVIEW", "never");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (keys, mut shown) = (child.stdin.take().context("keys")?, child.stdout.take().context("a screen")?);
        let screen = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = shown.read(&mut buffer) {
                written.lock().expect("lock").push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        Ok(Self { child, keys, screen })
    }

    /// Waits until this is on the screen, and wipes it with all before it.
    fn until(&mut self, text: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let mut screen = self.screen.lock().expect("lock");
            if let Some(at) = screen.find(text) {
                screen.drain(..at + text.len());
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{text:?} does not come: {screen:?}");
            drop(screen);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types once a prompt stands there. The terminal must be the editor's by then: before, it would take some keys itself.
    fn at_prompt(&mut self, keys: &str) -> anyhow::Result<()> {
        self.until("> ")?;
        self.keys.write_all(keys.as_bytes())?;
        Ok(())
    }

    fn ended(mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.wait()?.code())
    }
}

#[test]
fn lines_are_edited_completed_and_remembered() -> anyhow::Result<()> {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no `script` here to make a terminal");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    std::fs::write(dir.join("blue.png"), encode(&Rgb8::filled(20, 20, [0, 0, 255]), Format::Png, &[])?)?;

    let mut terminal = Terminal::start(dir, "")?;
    terminal.at_prompt("/im\tbl\t\r")?;
    terminal.until("blue.png: 20×20")?;
    // A letter too many, taken out again.
    terminal.at_prompt(&format!("/save Xcopy.png{TO_START}{}{DELETE}\r", RIGHT.repeat(6)))?;
    terminal.until("written to copy.png")?;
    terminal.at_prompt(" /save secret.png\r")?;
    terminal.until("written to secret.png")?;
    terminal.at_prompt("/quit\r")?;
    assert_eq!(terminal.ended()?, Some(0));
    assert!(dir.join("copy.png").is_file() && !dir.join("Xcopy.png").exists());
    let remembered = std::fs::read_to_string(dir.join("lines"))?;
    assert!(remembered.contains("/save copy.png") && !remembered.contains("secret"), "{remembered}");

    // The next conversation has the lines of the last one.
    std::fs::remove_file(dir.join("copy.png"))?;
    let mut terminal = Terminal::start(dir, "blue.png")?;
    terminal.at_prompt(&format!("{UP}{UP}\r"))?;
    terminal.until("written to copy.png")?;
    terminal.at_prompt(INTERRUPT)?;
    assert_eq!(terminal.ended()?, Some(130));
    Ok(())
}
