//! `replay`.

use std::path::PathBuf;

use clap::Args;

use super::{Target, examples};

/// Make an image again from the record in its PNG file, and say whether the bytes are the same.
///
/// Every PNG that was drawn carries prompt, seed, parameters, the weights' hash and the version. An edit's also carries the
/// hashes of the image it changed and of its mask, which --image and --mask must give. With other weights or another version nothing is made, unless
/// --anyway is given. Ends with status 0 when the bytes are the same, 1 when they are not, 2 when the file has no good record.
#[derive(Args, Debug)]
#[command(after_help = examples::REPLAY)]
pub(crate) struct Replay {
    /// The PNG file; `-` reads standard input.
    pub(crate) file: PathBuf,
    /// The image that was changed, where the file is an edit.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// The mask, where the file is an edit of a part.
    #[arg(long, value_name = "FILE")]
    pub(crate) mask: Option<PathBuf>,
    /// Where to write what was made again [default: nowhere].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Try it with other weights, another version or another source image too.
    #[arg(long)]
    pub(crate) anyway: bool,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}
