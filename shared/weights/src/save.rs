//! Writing weights that were made in memory, such as trained ones, as a checkpoint.

use std::path::Path;

use crate::config::ModelConfig;
use crate::convert::Converted;
use crate::error::WeightsError;
use crate::writer::{Division, Draft, Planned, Progress};
use crate::{Checkpoint, Part, StoredDtype, manifest};

/// Writes a whole checkpoint to the new folder `destination`, in `dtype`; `values` gives a tensor's values in row-major
/// order. The folder appears whole or not at all.
///
/// # Errors
/// When the sizes are impossible, a tensor has too few or too many values or one that is not finite, or the folder is
/// taken or cannot be written.
pub fn save(
    config: &ModelConfig,
    tokenizer: &str,
    destination: &Path,
    dtype: StoredDtype,
    mut values: impl FnMut(&manifest::TensorSpec) -> Result<Vec<f32>, WeightsError>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Converted, WeightsError> {
    config.validate().map_err(|why| WeightsError::config(destination, why))?;
    let draft = Draft::new(destination)?;
    draft.write_config(config)?;
    draft.write("tokenizer.json", tokenizer.as_bytes())?;
    let planned: Vec<Planned> =
        manifest::tensors(config, &Part::ALL).into_iter().map(|spec| Planned { spec, dtype }).collect();
    let fill = |tensor: &Planned, write: &mut dyn FnMut(&[u8]) -> std::io::Result<()>| {
        let values = values(&tensor.spec)?;
        if values.len() != tensor.spec.n_values() {
            let why = format!("{} has {} values, not {}", tensor.spec.name, values.len(), tensor.spec.n_values());
            return Err(WeightsError::config(destination, why));
        }
        write(&bytes(&values, dtype)).map_err(|e| WeightsError::io(destination, e))
    };
    let n_bytes = draft.write_tensors(&planned, Division::Parts, fill, progress)?;
    let sha256 = Checkpoint::open(draft.path())?.check(&manifest::tensors(config, &Part::ALL))?;
    draft.publish()?;
    Ok(Converted { n_tensors: planned.len(), n_bytes, sha256, notices: Vec::new() })
}

/// Little-endian bytes.
fn bytes(values: &[f32], dtype: StoredDtype) -> Vec<u8> {
    match dtype {
        StoredDtype::Bf16 => values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect(),
        StoredDtype::F16 => values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}
