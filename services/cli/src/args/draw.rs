//! `generate` and `edit`, and what they share with other commands that draw.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Change, Target, examples, parse_size};

/// Draw images from a prompt.
#[derive(Args, Debug)]
#[command(after_help = examples::GENERATE)]
pub(crate) struct Generate {
    /// What to draw; `-` reads it from standard input.
    pub(crate) prompt: String,
    /// Where results go.
    #[command(flatten)]
    pub(crate) output: Output,
    /// How to sample.
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Change an image as an instruction says.
#[derive(Args, Debug)]
#[command(after_help = examples::EDIT)]
pub(crate) struct Edit {
    /// The image to change; `-` reads standard input. It is cropped to the output's aspect, around its centre.
    pub(crate) image: PathBuf,
    /// What to change.
    pub(crate) instruction: String,
    /// Where to change it.
    #[command(flatten)]
    pub(crate) change: Change,
    /// Where results go.
    #[command(flatten)]
    pub(crate) output: Output,
    /// How to sample.
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Where results go.
#[derive(Args, Debug)]
pub(crate) struct Output {
    /// Where to write; with --n above 1, `-0`, `-1`, … is put before the extension. The extension picks the format: png,
    /// jpg or webp. `-` writes one PNG to standard output.
    #[arg(short, long, default_value = "unipic.png", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// How many images.
    #[arg(long)]
    pub(crate) n: Option<u32>,
    /// With --n above 1, also lay all images on one contact sheet, written to the output file itself.
    #[arg(long)]
    pub(crate) grid: bool,
    /// Write a preview to the output file every so many iterations.
    #[arg(long, value_name = "K")]
    pub(crate) preview_every: Option<u32>,
    /// Show the result in the terminal.
    #[arg(long, value_enum, default_value_t = Preview::Auto, env = "UNIPIC_PREVIEW", value_name = "HOW")]
    pub(crate) preview: Preview,
}

/// How to sample.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sampling {
    /// Seed; the same request with the same seed makes the same image. Drawn at random when left out, and printed.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Size in pixels, multiples of 16 [default: the model's].
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub(crate) size: Option<(u32, u32)>,
    /// Iterations of the loop: more is better and slower.
    #[arg(long)]
    pub(crate) iterations: Option<u32>,
    /// Sampling steps of the diffusion head in each iteration.
    #[arg(long)]
    pub(crate) head_steps: Option<u32>,
    /// Guidance scale; 1 turns guidance off and halves the work.
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

/// How guidance grows.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Schedule {
    /// The same in every iteration.
    Constant,
    /// From 1, with the places already revealed.
    Linear,
}

/// How a terminal shows images. All of it goes to standard error, so that results can be piped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preview {
    /// As well as this terminal can, and not at all where there is none, it is dumb, or NO_COLOR is set.
    Auto,
    /// Not at all.
    Never,
    /// Kitty's graphics protocol, which Ghostty knows too.
    Kitty,
    /// ITerm2's inline images, which WezTerm knows too.
    #[value(name = "iterm2")]
    ITerm2,
    /// Sixels, as in foot, mlterm and xterm.
    Sixel,
    /// Half blocks in colour, which every terminal knows.
    Blocks,
}
