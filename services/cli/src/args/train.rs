//! `train`.

use std::path::PathBuf;

use clap::Args;

use super::{Device, examples};

/// A recipe and how it is run.
#[derive(Args, Debug)]
#[command(
    override_usage = "unipic train [OPTIONS] <RECIPE> --run <FOLDER>\n       unipic train <RECIPE> --print",
    after_help = examples::TRAIN
)]
pub(crate) struct Train {
    /// A recipe, a TOML file, or the name of a built-in one: nano, unipic-1.5b. Paths in a recipe are relative to the
    /// working directory.
    pub(crate) recipe: String,
    /// The run's folder; made, or gone on with.
    #[arg(long, value_name = "FOLDER", required_unless_present = "print")]
    pub(crate) run: Option<PathBuf>,
    /// Print a built-in recipe with its comments, to begin one's own with, and train nothing.
    #[arg(long, conflicts_with_all = ["run", "begin_with"])]
    pub(crate) print: bool,
    /// Threads [default: as many as there are processors]. Their number does not change the result.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<std::num::NonZeroUsize>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub(crate) device: Device,
    /// Draw a sheet of samples every so many steps; 0 for none but at the end of a stage.
    #[arg(long, value_name = "K", default_value_t = 1000)]
    pub(crate) sheets_every: usize,
    /// Begin with this checkpoint in place of the recipe's.
    #[arg(long, value_name = "MODEL")]
    pub(crate) begin_with: Option<PathBuf>,
}
