//! `edit_*`: image and text to image.

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use serde::Deserialize;
use unipic_imaging::{Rgb8, centre_crop_to_aspect, resize_bicubic, square_crop};
use unipic_models::generation::ImageGrid;
use unipic_models::prompt;
use unipic_models::vae::pixels_from_u8;

use crate::bound::PART;
use crate::case::Case;
use crate::flow::{Flow, FlowSettings, Schedule};
use crate::subject::Subject;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    prompt: String,
    cfg_prompt: String,
    image: String,
    num_iter: usize,
    cfg: f64,
    cfg_schedule: Schedule,
    temperature: f64,
    image_shape: [usize; 2],
}

/// Checks one case, from the image file on.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check(subject: &Subject, case: &mut Case) -> Result<()> {
    let settings: Settings = case.settings()?;
    ensure!(
        settings.cfg_prompt == "Repeat this image.",
        "the recorded text {} is not the published one",
        settings.cfg_prompt
    );
    let [rows, cols] = settings.image_shape;
    let grid = ImageGrid { rows, cols };
    let pixels = source_pixels(subject, &subject.image(&settings.image)?, grid)?;
    case.check("pixels_in", &pixels, PART)?;
    let source = subject.synthesis.source(&subject.vae_encoder.encode(&pixels)?.get(0)?)?;
    case.check_packed("x_con", &source.x_con, PART)?;
    case.check_packed("z_enc", &source.z_full, PART)?;
    let prompts = [prompt::edit(&source.z_full, &settings.prompt), prompt::edit_unconditional(&source.z_full, None)];
    let flow_settings = FlowSettings {
        grid,
        n_images: case.tensors().get("orders").context("it has no quantity orders")?.dim(0)?,
        num_iter: settings.num_iter,
        cfg: settings.cfg,
        cfg_schedule: settings.cfg_schedule,
        temperature: settings.temperature,
    };
    Flow::start(subject, case, &flow_settings, prompts, Some(source))?.finish(case)
}

/// The image cropped to the grid's aspect and resized to its pixels.
fn source_pixels(subject: &Subject, image: &Rgb8, grid: ImageGrid) -> Result<Tensor> {
    let stride = subject.config.vae.stride();
    let (width, height) = (grid.cols * stride, grid.rows * stride);
    let (w, h) = (u32::try_from(width)?, u32::try_from(height)?);
    let cropped = match w == h {
        true => square_crop(image, w),
        false => resize_bicubic(&centre_crop_to_aspect(image, w, h).0, w, h),
    };
    Ok(pixels_from_u8(&cropped.data, width, height, &subject.device)?)
}
