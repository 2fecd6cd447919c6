//! `batch`.

use std::path::PathBuf;

use clap::Args;

use super::{Target, examples};

/// Draw and edit what a file of JSON lines asks for.
///
/// A row is {"id": "a", "prompt": "a red circle"} or {"id": "b", "image": "a.png", "instruction": "make it green"}, and may
/// say negative_prompt, seed, n, size ("512x512"), iterations, head_steps, guidance_scale, guidance_schedule, temperature and
/// output_format; a row with an image also mask ("m.png"), mask_marks ("white" or "transparent"), extend ({"left": 64}) and
/// feather. Images and masks are read from beside the file of rows; results are written as ID.png, or ID-0.png and so on where n is
/// above 1.
///
/// A finished row is noted in done.jsonl, so the same command goes on after an interruption, and makes again rows that were
/// changed or whose files are missing (other pixels under a source's old name are not noticed). Rows that failed are in failed.jsonl, with the reason. Ends with status 1 when any row failed.
#[derive(Args, Debug)]
#[command(after_help = examples::BATCH)]
pub(crate) struct Batch {
    /// The rows; `-` reads standard input.
    pub(crate) jobs: PathBuf,
    /// The folder to fill.
    pub(crate) out: PathBuf,
    /// Requests at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) in_flight: u16,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}
