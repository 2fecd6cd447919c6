//! `understand_*`: image and question to text, by either image encoder.

use anyhow::{Context, Result};
use candle_core::Tensor;
use serde::Deserialize;
use unipic_imaging::square_pad;
use unipic_models::prompt;
use unipic_models::vae::pixels_from_u8;

use crate::bound::PART;
use crate::case::Case;
use crate::llm::{Prefill, check_greedy, ids_of};
use crate::subject::Subject;

/// Grey around an image that is no square.
const FILL: [u8; 3] = [127; 3];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    prompt: String,
    image: String,
    encoder: Encoder,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoder {
    Siglip2,
    Mar,
}

/// Checks one case, from the image file to the answer's tokens.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check(subject: &Subject, case: &mut Case) -> Result<()> {
    let settings: Settings = case.settings()?;
    let side = case.tensors().get("pixels_in").context("it has no quantity pixels_in")?.dim(3)?;
    let square = square_pad(&subject.image(&settings.image)?, u32::try_from(side)?, FILL);
    let pixels = pixels_from_u8(&square.data, side, side, &subject.device)?;
    case.check("pixels_in", &pixels, PART)?;
    let z = match settings.encoder {
        Encoder::Siglip2 => siglip(subject, case, &pixels)?,
        Encoder::Mar => subject.synthesis.source(&subject.vae_encoder.encode(&pixels)?.get(0)?)?.z_full,
    };
    case.check_packed("z", &z, PART)?;
    let pieces = subject.tokenizer.tokenize(&prompt::understand(&z, &settings.prompt))?;
    case.check_ids("input_ids", &[ids_of(&pieces, subject.tokenizer.image_id())])?;
    let prefill = Prefill::run(&subject.llm, &pieces)?;
    case.check("logits_last", &prefill.last_logits(&subject.llm)?, PART)?;
    check_greedy(subject, case, vec![prefill])
}

fn siglip(subject: &Subject, case: &mut Case, pixels: &Tensor) -> Result<Tensor> {
    let (tower, projector) = subject.siglip.as_ref().context("the checkpoint has no SigLIP2 path")?;
    let hidden = tower.forward(&pixels.get(0)?)?;
    case.check_packed("siglip_hidden", &hidden, PART)?;
    Ok(projector.forward(&hidden)?)
}
