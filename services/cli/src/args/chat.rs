//! `chat`.

use std::path::PathBuf;

use clap::Args;

use super::{Preview, Sampling, Target};

/// Draw, edit and ask in one conversation, on the terminal or from a script.
///
/// Each line is a command or a question about the last image. /draw PROMPT draws one, /edit INSTRUCTION changes it, /image
/// FILE takes one from a file, /save FILE writes it, /new forgets what was said about it, /help lists all. With a pipe on
/// standard input the lines are read from there, answers are written to standard output, and the status is 1 when any
/// line failed. Ctrl-c stops an answer; at the prompt it ends the conversation.
#[derive(Args, Debug)]
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
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}
