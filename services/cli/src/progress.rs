//! What a person or a program sees while a request runs.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use unipic_api::pb;
use unipic_eval::{Step, StepOutcome};

/// What is drawn while nobody knows how much there is to do.
const UNCOUNTED: &str = "{spinner} {msg}";

/// What is drawn from then on.
const COUNTED: &str = "{spinner} {msg} {wide_bar} {pos}/{len}";

/// Shows events: a bar on standard error for people, JSON lines on standard output for programs.
pub(crate) struct Progress {
    bar: ProgressBar,
    json: bool,
    /// Why standard output took no more, where it did not.
    lost: Mutex<Option<io::Error>>,
}

impl Progress {
    /// Nothing is drawn until the first event; the bar hides itself when standard error is no terminal.
    pub(crate) fn new(json: bool) -> Self {
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::no_length() };
        let progress = Self { bar, json, lost: Mutex::new(None) };
        progress.draw_as(UNCOUNTED);
        progress
    }

    fn draw_as(&self, template: &str) {
        // A template of ours that is none would only leave the last one.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    /// So much of so much has been done; a bar shows it from here on.
    fn count(&self, done: u64, total: u64) {
        if self.bar.length().is_none() {
            self.draw_as(COUNTED);
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// Says what is being waited for.
    pub(crate) fn stage(&self, text: impl Into<String>) {
        // In a conversation the bar comes back for every line; what it said last is over.
        if self.bar.is_finished() {
            self.bar.unset_length();
            self.draw_as(UNCOUNTED);
            self.bar.set_message("");
            self.bar.reset();
        }
        self.bar.set_message(text.into());
        self.bar.enable_steady_tick(std::time::Duration::from_millis(200));
    }

    /// Waiting for a place.
    pub(crate) fn queued(&self, queued: &pb::Queued) {
        self.stage(format!("queued behind {}", queued.position));
        self.event("queued", json!({ "position": queued.position }));
    }

    /// A part of the server was lost, and its work is done again.
    pub(crate) fn resumed(&self, resumed: &pb::Resumed) {
        let what = resumed.what().as_str_name().trim_start_matches("BACKEND_").to_lowercase();
        self.stage(format!("{what} was lost; attempt {}", resumed.attempt));
        self.event("resumed", json!({ "what": what, "attempt": resumed.attempt }));
    }

    /// The loop went on.
    pub(crate) fn step(&self, progress: &pb::Progress) {
        let left = match progress.remaining_ms {
            ms if ms > 0.0 => format!(", {:.0} s left", (ms / 1000.0).ceil()),
            _ => String::new(),
        };
        self.stage(format!("{} of {} places{left}", progress.known_tokens, progress.total_tokens));
        self.count(u64::from(progress.iteration), u64::from(progress.iterations));
        self.event(
            "progress",
            json!({
                "iteration": progress.iteration,
                "iterations": progress.iterations,
                "known_tokens": progress.known_tokens,
                "total_tokens": progress.total_tokens,
                "elapsed_ms": progress.elapsed_ms,
                "remaining_ms": progress.remaining_ms,
            }),
        );
    }

    /// A checkpoint is being written.
    pub(crate) fn bytes(&self, step: &unipic_weights::Progress) {
        const MIB: u64 = 1 << 20;
        self.stage(format!("writing {} (MiB)", step.part.label()));
        self.count(step.done / MIB, step.total / MIB);
    }

    /// So much of so much has been done.
    pub(crate) fn position(&self, done: u64, total: u64, text: impl Into<std::borrow::Cow<'static, str>>) {
        self.count(done, total);
        self.bar.set_message(text.into());
    }

    /// Whether people read lines instead of a bar: standard error is no terminal.
    pub(crate) fn is_plain(&self) -> bool {
        !self.json && self.bar.is_hidden()
    }

    /// An item of an evaluation or a curation came to its end.
    pub(crate) fn item(&self, step: &Step<'_>) {
        let (outcome, why) = match step.outcome {
            StepOutcome::Made => ("made", None),
            StepOutcome::Kept => ("kept", None),
            StepOutcome::Failed(why) => ("failed", Some(why)),
        };
        let Step { done, total, item, .. } = *step;
        self.position(done as u64, total as u64, item.to_owned());
        if let Some(why) = why {
            self.line(&format!("{item} failed: {why}"));
        }
        self.event("item", json!({ "item": item, "done": done, "total": total, "outcome": outcome, "error": why }));
    }

    /// Prints what came of it all: text on standard output for people, the last event for programs.
    pub(crate) fn result(&self, text: &str, fields: Value) {
        self.event("done", fields);
        if !self.json {
            self.text(text);
        }
    }

    /// Prints a JSON line when JSON is asked for.
    pub(crate) fn event(&self, name: &str, mut fields: Value) {
        if self.json {
            fields["event"] = name.into();
            self.print(&fields.to_string());
        }
    }

    /// Prints a line on standard output for people.
    pub(crate) fn text(&self, text: &str) {
        self.bar.suspend(|| self.print(text));
    }

    /// Prints a line for people, above the bar.
    pub(crate) fn line(&self, text: &str) {
        if !self.json {
            // A log that takes no more is no reason to stop.
            self.bar.suspend(|| drop(writeln!(io::stderr(), "{text}")));
        }
    }

    /// Writes what shows an image to standard error, above the bar.
    pub(crate) fn show(&self, text: &str) {
        self.bar.suspend(|| drop(write!(io::stderr(), "{text}")));
    }

    /// Whether events are printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Tells whether all that was printed has been taken.
    ///
    /// # Errors
    /// What came first between a line and its place, as a full disk does: a cut-off list must not look like a whole one.
    pub(crate) fn printed(&self) -> io::Result<()> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).take();
        lost.or_else(|| io::stdout().flush().err().filter(is_loss)).map_or(Ok(()), Err)
    }

    fn print(&self, line: &str) {
        if let Err(error) = writeln!(io::stdout().lock(), "{line}")
            && is_loss(&error)
        {
            self.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Nobody reads any more when the other end of a pipe is gone: what was made stays made, and nothing is missed.
pub(crate) fn is_loss(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::BrokenPipe
}
