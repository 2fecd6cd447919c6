//! Where an edit redraws its source.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use unipic_api::pb;

use crate::input;

/// A mask, or none.
#[derive(Args, Clone, Debug)]
pub(crate) struct Mask {
    /// Redraw only what this image marks, white on black, of the size of the image to change; `-` reads standard input. All
    /// other pixels come back as they were, bit for bit in png and webp.
    #[arg(long = "mask", value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the mask marks: its white pixels, or its transparent ones as in OpenAI's API.
    #[arg(long = "mask-marks", value_enum, value_name = "WHAT", default_value = "white", requires = "file")]
    marks: Marks,
    /// Blend the seam over so many pixels, inside the redrawn part.
    #[arg(long, value_name = "PIXELS", default_value_t = 0, requires = "file")]
    feather: u32,
}

/// Which pixels of a mask are redrawn.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Marks {
    /// Those brighter than middle grey.
    White,
    /// Those less than half opaque.
    Transparent,
}

impl Mask {
    /// The mask as it is sent, for the image at a path.
    ///
    /// # Errors
    /// When its file cannot be read, naming it, or both would be read from standard input.
    pub(crate) fn read(&self, image: &Path) -> anyhow::Result<Option<pb::Mask>> {
        let Some(file) = &self.file else { return Ok(None) };
        let both = file == Path::new("-") && file == image;
        anyhow::ensure!(!both, "the image and --mask cannot both be `-`: standard input holds one file");
        let convention = match self.marks {
            Marks::White => pb::MaskConvention::White,
            Marks::Transparent => pb::MaskConvention::Transparent,
        };
        Ok(Some(pb::Mask { image: input::read(file)?.into(), convention: convention as i32, feather: self.feather }))
    }
}
