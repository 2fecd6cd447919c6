//! `eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use unipic_world::Difficulty;

use super::data::parse_difficulty;
use super::{LinearWeights, Schedule, Target, examples, parse_size};

/// Measure what a model draws, edits and answers. Every run can be interrupted and repeated.
#[derive(Debug, Subcommand)]
#[command(after_help = examples::EVAL)]
pub(crate) enum Eval {
    /// Held-out prompts, edits, questions and captions of the shapes world, judged by pixels.
    Nano(Nano),
    /// Draw GenEval's prompts, for its own scorer.
    Geneval(GenEval),
    /// Draw DPG-Bench's prompts, for its own scorer.
    Dpg(Dpg),
    /// Make GEdit-Bench's edits, for its own scorer.
    Gedit(GEdit),
    /// Make ImgEdit-Bench's edits, for its own scorer.
    Imgedit(ImgEdit),
    /// Two settings or two models on the same prompts and seeds of the shapes world.
    ///
    /// Side a is what --server, --model and the sampling options say. Side b is the same but for what the --b-options say.
    Compare(Compare),
}

/// Where results go and how images are sampled.
#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// The folder to fill; a run with the same parameters is gone on with.
    pub(crate) out: PathBuf,
    /// Seed of the run; every image's seed follows from it.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// How images are sampled.
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// Requests at once.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) in_flight: usize,
    /// A word for the record, for what the server does not tell about itself.
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    /// Only the first so many prompts (of each group, with nano).
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// How images are sampled; what is left out is the model's default.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sampling {
    /// Size in pixels.
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub(crate) size: Option<(u32, u32)>,
    /// Iterations of the loop.
    #[arg(long)]
    pub(crate) iterations: Option<u32>,
    /// Sampling steps of the diffusion head in each iteration.
    #[arg(long)]
    pub(crate) head_steps: Option<u32>,
    /// Guidance scale; 1 turns guidance off.
    #[arg(long, value_name = "SCALE")]
    pub(crate) guidance: Option<f32>,
    /// How guidance grows over the iterations.
    #[arg(long, value_enum)]
    pub(crate) guidance_schedule: Option<Schedule>,
    /// Factor on the sampler's noise.
    #[arg(long)]
    pub(crate) temperature: Option<f32>,
    /// What to keep away from.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) negative: String,
}

/// The shapes world's items.
#[derive(Args, Clone, Debug)]
pub(crate) struct Items {
    /// Seed of the prompts.
    #[arg(long, default_value_t = 0)]
    pub(crate) world_seed: u64,
    /// How hard scenes are: `nano` (the world of the embedded model), `easy`, `full`, or a TOML file with the knobs of a
    /// recipe's `shapes` table.
    #[arg(long, default_value = "nano", value_parser = parse_difficulty)]
    pub(crate) difficulty: Difficulty,
    /// Prompts of each of the six categories.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) per_category: u64,
    /// Edits of each kind.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) per_edit: u64,
    /// Questions of each kind.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) per_question: u64,
    /// Captions.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) captions: u64,
    /// Pictures of each group on the contact sheet.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) on_sheet: usize,
}

/// Held-out prompts, edits, questions and captions of the shapes world, judged by pixels.
#[derive(Args, Debug)]
pub(crate) struct Nano {
    /// What is asked for.
    #[command(flatten)]
    pub(crate) items: Items,
    /// Where results go and how images are sampled.
    #[command(flatten)]
    pub(crate) run: Run,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Draw GenEval's prompts.
#[derive(Args, Debug)]
pub(crate) struct GenEval {
    /// GenEval's evaluation_metadata.jsonl.
    pub(crate) prompts: PathBuf,
    /// Images per prompt; the published tables have 4.
    #[arg(long, default_value_t = 4)]
    pub(crate) n: u32,
    /// Also make grid.png of each prompt's images.
    #[arg(long)]
    pub(crate) grid: bool,
    /// Where results go and how images are sampled.
    #[command(flatten)]
    pub(crate) run: Run,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Draw DPG-Bench's prompts.
#[derive(Args, Debug)]
pub(crate) struct Dpg {
    /// DPG-Bench's folder of prompts, one ID.txt each.
    pub(crate) prompts: PathBuf,
    /// Images per prompt, 1 to 4; the published tables have 4.
    #[arg(long, default_value_t = 4)]
    pub(crate) n: u32,
    /// Where results go and how images are sampled.
    #[command(flatten)]
    pub(crate) run: Run,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Make GEdit-Bench's edits.
#[derive(Args, Debug)]
#[command(after_long_help = unipic_eval::bench::GEDIT_EXPORT)]
pub(crate) struct GEdit {
    /// The exported prompts.jsonl; see below.
    pub(crate) prompts: PathBuf,
    /// The size of the result beside the size of the source.
    #[arg(long, value_enum, default_value_t = Fit::Fixed)]
    pub(crate) fit: Fit,
    /// Where results go and how images are sampled.
    #[command(flatten)]
    pub(crate) run: Run,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}

/// The size of an edit's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fit {
    /// --size for all; the scorer sees the whole source.
    Fixed,
    /// --size for all; the scorer sees the part of the source that the model saw.
    FixedCropped,
    /// The source's aspect, with about as many pixels as --size.
    SourceAspect,
}

/// Make ImgEdit-Bench's edits.
#[derive(Args, Debug)]
pub(crate) struct ImgEdit {
    /// The edits, singleturn.json or basic_edit.json.
    pub(crate) edits: PathBuf,
    /// The folder of the originals.
    pub(crate) originals: PathBuf,
    /// Where results go and how images are sampled.
    #[command(flatten)]
    pub(crate) run: Run,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Two settings or two models on the same prompts and seeds of the shapes world.
#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// What is asked for.
    #[command(flatten)]
    pub(crate) items: Items,
    /// Where results go and how side a is sampled. Its label is side a's.
    #[command(flatten)]
    pub(crate) run: Run,
    /// Which model is side a.
    #[command(flatten)]
    pub(crate) target: Target,
    /// What is different on side b.
    #[command(flatten)]
    pub(crate) other: Other,
    /// Fail unless side b is shown to lose no more than this share in any section, such as 0.05.
    #[arg(long, value_name = "SHARE")]
    pub(crate) max_loss: Option<f64>,
}

/// What is different on side b.
#[derive(Args, Clone, Debug)]
pub(crate) struct Other {
    /// Side b's label.
    #[arg(long, value_name = "LABEL", default_value = "b")]
    pub(crate) b_label: String,
    /// Side b's server.
    #[arg(long, value_name = "SERVER", conflicts_with_all = ["b_model", "b_linear"])]
    pub(crate) b_server: Option<String>,
    /// Side b's model.
    #[arg(long, value_name = "MODEL")]
    pub(crate) b_model: Option<PathBuf>,
    /// How side b's linear layers are held.
    #[arg(long, value_enum)]
    pub(crate) b_linear: Option<LinearWeights>,
    /// Side b's iterations.
    #[arg(long, value_name = "ITERATIONS")]
    pub(crate) b_iterations: Option<u32>,
    /// Side b's sampling steps of the head.
    #[arg(long, value_name = "HEAD_STEPS")]
    pub(crate) b_head_steps: Option<u32>,
    /// Side b's guidance scale.
    #[arg(long, value_name = "SCALE")]
    pub(crate) b_guidance: Option<f32>,
    /// How side b's guidance grows.
    #[arg(long, value_enum)]
    pub(crate) b_guidance_schedule: Option<Schedule>,
    /// Side b's factor on the sampler's noise.
    #[arg(long, value_name = "TEMPERATURE")]
    pub(crate) b_temperature: Option<f32>,
}
