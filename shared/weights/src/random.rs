//! Full-size checkpoints with random weights, to measure and to demonstrate with.
//!
//! The numbers mean nothing, but every flow runs on them at its true cost: scales are chosen so that activations stay
//! of order one through all layers, and the diffusion head is built so that its noise prediction is close to its own
//! input, which is what a head trained on unit noise would say; an arbitrary head makes the sampler blow up, because
//! early steps divide by a tiny ᾱ. The tokenizer knows single bytes and the control tokens only.

mod fill;
mod tokenizer;

pub use tokenizer::json as tokenizer_json;

use std::path::Path;

use crate::config::ModelConfig;
use crate::convert::Converted;
use crate::error::WeightsError;
use crate::writer::{Division, Draft, Planned, Progress};
use crate::{Checkpoint, Part, StoredDtype, manifest};

/// Writes a random checkpoint of the sizes `config` to the new folder `destination`; `bf16` is the published dtype.
///
/// Values depend on `seed`, the tensor's name and their place only.
///
/// # Errors
/// When the sizes are impossible, the vocabulary is too small for bytes and control tokens, `dtype` is not of floating
/// point, or the folder is taken or cannot be written.
pub fn random(
    config: &ModelConfig,
    destination: &Path,
    dtype: StoredDtype,
    seed: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Converted, WeightsError> {
    config.validate().map_err(|why| WeightsError::config(destination, why))?;
    if config.llm.vocab_size < tokenizer::N_TOKENS + 1 {
        let why = format!("llm.vocab_size is below the {} that bytes and control tokens take", tokenizer::N_TOKENS + 1);
        return Err(WeightsError::config(destination, why));
    }
    if !matches!(dtype, StoredDtype::F32 | StoredDtype::F16 | StoredDtype::Bf16) {
        return Err(WeightsError::config(destination, format!("weights are not written as {}", dtype.name())));
    }
    let draft = Draft::new(destination)?;
    draft.write_config(config)?;
    draft.write("tokenizer.json", tokenizer_json(&[], &[]).as_bytes())?;
    let planned: Vec<Planned> =
        manifest::tensors(config, &Part::ALL).into_iter().map(|spec| Planned { spec, dtype }).collect();
    let fill = |tensor: &Planned, write: &mut dyn FnMut(&[u8]) -> std::io::Result<()>| {
        let fill = fill::Fill::of(&tensor.spec, config);
        fill.write(&tensor.spec, dtype, seed, write).map_err(|e| WeightsError::io(destination, e))
    };
    let n_bytes = draft.write_tensors(&planned, Division::Parts, fill, progress)?;
    let sha256 = Checkpoint::open(draft.path())?.check(&manifest::tensors(config, &Part::ALL))?;
    draft.publish()?;
    Ok(Converted { n_tensors: planned.len(), n_bytes, sha256, notices: Vec::new() })
}
