//! `vae_encode_*` and `vae_decode_*`.

use anyhow::Result;

use crate::bound::{PART, PIXELS};
use crate::case::{Case, NoSettings};
use crate::subject::Subject;

/// Checks one encoding.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check_encode(subject: &Subject, case: &mut Case) -> Result<()> {
    case.settings::<NoSettings>()?;
    let pixels = case.take("pixels")?.to_device(&subject.device)?;
    case.check("latents", &subject.vae_encoder.encode(&pixels)?, PART)
}

/// Checks one decoding.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check_decode(subject: &Subject, case: &mut Case) -> Result<()> {
    case.settings::<NoSettings>()?;
    let latents = case.take("latents")?.to_device(&subject.device)?;
    case.check("pixels", &subject.vae_decoder.decode(&latents)?, PIXELS)
}
