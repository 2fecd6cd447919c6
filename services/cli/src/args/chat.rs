//! `chat`.

use std::path::PathBuf;

use clap::Args;

use super::{Preview, Sampling, Target, examples};

/// Draw, edit and ask in one conversation, on the terminal or from a script.
///
/// Each line is a command or a question about the last images. /draw PROMPT draws one, /edit INSTRUCTION changes the last, /image
/// FILE takes one from a file (several times, or with several files, to ask about all of them), /save FILE writes the last,
/// /new forgets what was said, /help lists all. At a terminal, lines can be edited, the arrow keys bring back earlier ones,
/// and Tab completes commands and names of files. With a pipe on standard input the lines are read from there, answers are
/// written to standard output, and the status is 1 when any line failed. Ctrl-c stops an answer; at the prompt it ends the
/// conversation.
#[derive(Args, Debug)]
#[command(after_help = examples::CHAT)]
pub(crate) struct Chat {
    /// The image to begin with.
    pub(crate) image: Option<PathBuf>,
    /// How to sample images.
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// At most this many tokens in an answer.
    #[arg(long)]
    pub(crate) max_tokens: Option<u32>,
    /// Show images in the terminal.
    #[arg(long, value_enum, default_value_t = Preview::Auto, env = "UNIPIC_PREVIEW", value_name = "HOW")]
    pub(crate) preview: Preview,
    /// Where lines typed at a terminal are remembered; `off` for nowhere [default: ~/.local/state/unipic/history]. A line that
    /// begins with a space is never remembered.
    #[arg(long, env = "UNIPIC_HISTORY", value_name = "FILE")]
    history: Option<PathBuf>,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Chat {
    /// Where lines are remembered; none for nowhere.
    pub(crate) fn history(&self) -> Option<PathBuf> {
        match &self.history {
            Some(file) if file.as_os_str() == "off" => None,
            Some(file) => Some(file.clone()),
            None => std::env::home_dir().map(|home| home.join(".local/state/unipic/history")),
        }
    }
}
