//! `preprocess_*`: an image file to the two squares that the encoders see.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use serde::Deserialize;
use unipic_imaging::{Rgb8, square_crop, square_pad};

use crate::bound::Bound;
use crate::case::Case;
use crate::subject::Subject;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    image: String,
    size: u32,
    resample: String,
    pad: [u8; 3],
}

/// Checks one case.
///
/// # Errors
/// When the case is not understood or the image cannot be read.
pub(crate) fn check(subject: &Subject, case: &mut Case) -> Result<()> {
    let Settings { image, size, resample, pad } = case.settings()?;
    ensure!(resample == "bicubic", "resampling by {resample} is not known");
    let image = subject.image(&image)?;
    case.check("crop_u8", &bytes(&square_crop(&image, size))?, Bound::Resized)?;
    case.check("pad_u8", &bytes(&square_pad(&image, size, pad))?, Bound::Resized)
}

/// `[height, width, 3]`.
fn bytes(image: &Rgb8) -> Result<Tensor> {
    let shape = (image.height as usize, image.width as usize, 3);
    Ok(Tensor::from_slice(&image.data, shape, &Device::Cpu)?)
}
