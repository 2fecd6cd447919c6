//! Where an edit redraws its source.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use unipic_api::pb;

use crate::failure::wrong;
use crate::input;

/// A mask, margins, both or none.
#[derive(Args, Clone, Debug)]
pub(crate) struct Change {
    /// Redraw only what this image marks, white on black, of the size of the image to change; `-` reads standard input. All
    /// other pixels come back as they were, bit for bit in png and webp.
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// What the mask marks: its white pixels, or its transparent ones as in OpenAI's API.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "white", requires = "mask")]
    mask_marks: Marks,
    /// Draw margins around the image, in its pixels, such as `left=64,right=64`; also `top`, `bottom`. The image itself comes
    /// back as it was. Without --size, the result has the size of the image with its margins, or else its aspect.
    #[arg(long, value_name = "SIDE=PIXELS,…", value_parser = parse_margins)]
    extend: Option<pb::Margins>,
    /// Blend the seam of a mask or margins over so many pixels, inside the redrawn part.
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    feather: u32,
}

/// Which pixels of a mask are redrawn.
#[derive(Clone, Copy, Debug, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Marks {
    /// Those brighter than middle grey.
    #[default]
    White,
    /// Those less than half opaque.
    Transparent,
}

impl From<Marks> for pb::MaskConvention {
    fn from(marks: Marks) -> Self {
        match marks {
            Marks::White => Self::White,
            Marks::Transparent => Self::Transparent,
        }
    }
}

impl Change {
    /// Puts it into a request for the image at a path.
    ///
    /// # Errors
    /// When the mask's file cannot be read, naming it, or both would be read from standard input.
    pub(crate) fn put(&self, request: &mut pb::EditRequest, image: &Path) -> anyhow::Result<()> {
        (request.extend, request.feather) = (self.extend, self.feather);
        let Some(file) = &self.mask else { return Ok(()) };
        let both = file == Path::new("-") && file == image;
        if both {
            return Err(wrong("the image and --mask cannot both be `-`: standard input holds one file"));
        }
        let convention = pb::MaskConvention::from(self.mask_marks).into();
        request.mask = Some(pb::Mask { image: input::image(file)?.into(), convention });
        Ok(())
    }
}

/// `left=64,top=32` as margins.
fn parse_margins(text: &str) -> Result<pb::Margins, String> {
    let mut margins = pb::Margins::default();
    for part in text.split(',') {
        let wrong = || format!("`{part}` is no SIDE=PIXELS such as left=64; sides are left, top, right and bottom");
        let (side, pixels) = part.split_once('=').ok_or_else(wrong)?;
        let margin = match side.trim() {
            "left" => &mut margins.left,
            "top" => &mut margins.top,
            "right" => &mut margins.right,
            "bottom" => &mut margins.bottom,
            _ => return Err(wrong()),
        };
        *margin = pixels.trim().parse().map_err(|_| wrong())?;
    }
    Ok(margins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_sides_with_pixels() {
        let margins = parse_margins("left=64, bottom=8").unwrap();
        assert_eq!((margins.left, margins.top, margins.right, margins.bottom), (64, 0, 0, 8));
        for wrong in ["", "64", "left", "left=", "left=-1", "middle=4", "left=1;top=2", "top=9,", "top=4294967296"] {
            assert!(parse_margins(wrong).unwrap_err().contains("SIDE=PIXELS"), "{wrong}");
        }
    }
}
