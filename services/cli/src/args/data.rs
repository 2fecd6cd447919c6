//! `data`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use unipic_world::Difficulty;

use super::Target;

/// Make and filter training data: JSON lines, and the images that they name.
#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Draw a dataset of the shapes world. Run again after an interruption, it goes on.
    Shapes(Shapes),
    /// Score the rows of a dataset and keep those that score high enough.
    ///
    /// OUT gets kept.jsonl, dropped.jsonl with reasons, bad.jsonl (rows that are none), the scores and summary.json. Run
    /// again after an interruption, it goes on; with another threshold, it sorts without scoring again.
    Curate(Curate),
}

/// Draw a dataset of the shapes world.
#[derive(Args, Debug)]
pub(crate) struct Shapes {
    /// The folder to make: rows.jsonl and images/. It appears when it is whole.
    pub(crate) out: PathBuf,
    /// How many rows.
    #[arg(long, value_name = "N")]
    pub(crate) n: NonZeroUsize,
    /// Seed; the same seed draws the same rows.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// What the rows teach.
    #[arg(long, value_enum, default_value_t = Kind::Generation)]
    pub(crate) kind: Kind,
    /// Which side of the border between training and evaluation.
    #[arg(long, value_enum, default_value_t = Split::Train)]
    pub(crate) split: Split,
    /// How hard scenes are: `nano` (the world of the embedded model), `easy`, `full`, or a TOML file with the knobs of a
    /// recipe's `shapes` table.
    #[arg(long, default_value = "full", value_parser = parse_difficulty)]
    pub(crate) difficulty: Difficulty,
    /// Side of the images in pixels.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=2048))]
    pub(crate) size: u32,
    /// Share of rows whose words do not fit their picture, 0 to 1, each marked `corrupted`, to try a curation with; with
    /// --kind generation only.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) wrong_share: f32,
}

/// What a row teaches, and its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A prompt to draw: image, caption, claim.
    Generation,
    /// A question and its answer: image, conversation.
    Question,
    /// A description: image, caption, claim.
    Caption,
    /// An instruction: source, instruction, target, claim.
    Edit,
}

/// A side of the border between training and evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Split {
    /// What recipes train on.
    Train,
    /// What evaluations ask for.
    HeldOut,
}

/// Score the rows of a dataset and keep those that score high enough.
#[derive(Args, Debug)]
pub(crate) struct Curate {
    /// The rows, a JSON-lines file; image paths are relative to its folder.
    pub(crate) rows: PathBuf,
    /// The folder for the results.
    pub(crate) out: PathBuf,
    /// Who scores; a row must satisfy each. Repeat for several.
    #[arg(long = "reward", value_enum, default_values_t = [Reward::Model])]
    pub(crate) rewards: Vec<Reward>,
    /// Keep rows that score this or more, 0 to 1.
    #[arg(long, default_value_t = unipic_eval::curate::THRESHOLD)]
    pub(crate) threshold: f64,
    /// Answers that the model gives to each question; the score is the share of yes. 1 takes the likeliest answer.
    #[arg(long, default_value_t = 1)]
    pub(crate) answers: u32,
    /// Seed of the answers.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Rows scored at once.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) in_flight: usize,
    /// Which model answers.
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Who scores rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reward {
    /// The model is asked whether a picture shows its caption, whether an answer is right, whether an instruction was
    /// followed.
    Model,
    /// VQAScore: the probability that the model says yes to "does this figure show …?". Captions only.
    Vqa,
    /// The shapes world's judge reads the pixels: captions, and edits with a claim.
    Shapes,
}

/// A difficulty by name, or from a file.
pub(super) fn parse_difficulty(text: &str) -> Result<Difficulty, String> {
    let difficulty = match text {
        "nano" => Difficulty::nano(),
        "easy" => Difficulty::easy(),
        "full" => Difficulty::full(),
        path => {
            let toml =
                std::fs::read_to_string(path).map_err(|e| format!("neither nano, easy, full nor a file: {e}"))?;
            toml::from_str(&toml).map_err(|e| e.to_string())?
        }
    };
    difficulty.check().map_err(|e| e.to_string())?;
    Ok(difficulty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difficulty_is_a_name_or_a_file() {
        assert_eq!(parse_difficulty("easy").unwrap(), Difficulty::easy());
        assert_eq!(parse_difficulty("nano").unwrap(), Difficulty::nano());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("knobs.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            parse_difficulty(path.to_str().unwrap())
        };
        assert_eq!(read("lattice = 0.25").unwrap(), Difficulty { lattice: 0.25, ..Difficulty::full() });
        assert!(read("lattice = 7.0").unwrap_err().contains("lattice"));
        assert!(read("latice = 0.1").unwrap_err().contains("latice"));
        assert!(parse_difficulty("hard").unwrap_err().contains("easy"));
    }
}
