//! `describe`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Target, examples};

/// Describe an image, or answer a question about one or several.
#[derive(Args, Debug)]
#[command(after_help = examples::DESCRIBE)]
pub(crate) struct Describe {
    /// The image; `-` reads standard input.
    image: PathBuf,
    /// The question.
    #[arg(default_value = "Describe the image in detail.")]
    pub(crate) question: String,
    /// One more image, shown to the model behind the first; `-` reads standard input. Repeat for several, in their order.
    #[arg(short, long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// At most this many tokens.
    #[arg(long)]
    pub(crate) max_tokens: Option<u32>,
    /// 0 picks the likeliest token.
    #[arg(long)]
    pub(crate) temperature: Option<f32>,
    /// Draw from the smallest set of tokens whose probability reaches this.
    #[arg(long)]
    pub(crate) top_p: Option<f32>,
    /// Seed of the draws.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Which encoder shows the image to the model [default: siglip2 where the checkpoint has it].
    #[arg(long, value_enum)]
    pub(crate) encoder: Option<Encoder>,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Describe {
    /// All images, in the order in which the model sees them.
    pub(crate) fn images(&self) -> Vec<&Path> {
        std::iter::once(&self.image).chain(&self.images).map(PathBuf::as_path).collect()
    }
}

/// Which encoder shows images to the language model.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Encoder {
    /// The paper's.
    Siglip2,
    /// The released script's.
    Mar,
}
