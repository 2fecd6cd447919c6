//! `mar_*`: MAR's encoder on known places and on a whole image, the way into the language model, and MAR's decoder with
//! and without a source image.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use serde::Deserialize;
use unipic_models::generation::{EncodeInput, Encoded};
use unipic_models::mar::{Canvas, ImageGrid};

use crate::bound::PART;
use crate::case::Case;
use crate::subject::Subject;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    grid: [usize; 2],
}

/// Checks one case.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check(subject: &Subject, case: &mut Case) -> Result<()> {
    let Settings { grid: [rows, cols] } = case.settings()?;
    let grid = ImageGrid { rows, cols };
    let latents = case.take("latents")?;
    ensure!(latents.dims()[1..3] == [rows, cols], "latents {:?} are of another grid", latents.dims());
    let mask = case.take("mask")?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let images: Vec<Tensor> = (0..latents.dim(0)?).map(|i| latents.get(i)).collect::<candle_core::Result<_>>()?;
    let whole = images.iter().map(EncodeInput::known).collect::<candle_core::Result<Vec<_>>>()?;
    ensure!(mask.len() == whole.len() && mask.iter().all(|m| m.len() == grid.n_places()), "the mask does not fit");
    let known: Vec<EncodeInput> = whole.iter().zip(&mask).map(|(image, mask)| unmasked(image, mask)).collect();

    let whole = subject.synthesis.encode(&whole)?;
    case.check_packed("x_con", &packed(&whole, |e| &e.x_enc)?, PART)?;
    case.check_packed("z_full", &packed(&whole, |e| &e.z_enc)?, PART)?;
    let encoded = subject.synthesis.encode(&known)?;
    case.check_packed("x_enc", &packed(&encoded, |e| &e.x_enc)?, PART)?;
    case.check_packed("z_enc", &packed(&encoded, |e| &e.z_enc)?, PART)?;

    let x_enc = packed(&encoded, |e| &e.x_enc)?;
    let sources =
        whole.iter().map(|e| subject.synthesis.decoder.embed(&e.x_enc)).collect::<candle_core::Result<Vec<_>>>()?;
    case.check_packed("decoded", &decode_all(subject, &x_enc, &known, None)?, PART)?;
    case.check_packed("decoded_with_x_con", &decode_all(subject, &x_enc, &known, Some(&sources))?, PART)
}

/// MAR's decoder asked for every place, over mask tokens or over embedded sources.
fn decode_all(subject: &Subject, x_enc: &Tensor, images: &[EncodeInput], sources: Option<&[Tensor]>) -> Result<Tensor> {
    let all: Vec<Vec<u32>> = images.iter().map(|image| image.grid.places()).collect();
    let canvas = |i: usize| Canvas {
        grid: images[i].grid,
        places: &images[i].places,
        reveal: &all[i],
        source: sources.map(|sources| &sources[i]),
    };
    let canvases: Vec<Canvas> = (0..images.len()).map(canvas).collect();
    Ok(subject.synthesis.decoder.forward(x_enc, &canvases)?)
}

/// The places of an image that its mask leaves known.
fn unmasked(image: &EncodeInput, mask: &[f32]) -> EncodeInput {
    let channels = image.latents.len() / mask.len();
    let known = || (0..mask.len()).filter(|&place| mask[place] == 0.0);
    EncodeInput {
        grid: image.grid,
        places: known().map(|place| place as u32).collect(),
        latents: known().flat_map(|place| &image.latents[place * channels..][..channels]).copied().collect(),
    }
}

fn packed(encoded: &[Encoded], of: fn(&Encoded) -> &Tensor) -> Result<Tensor> {
    Ok(Tensor::cat(&encoded.iter().map(of).collect::<Vec<_>>(), 0)?)
}
