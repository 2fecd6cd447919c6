//! From any layout to a folder of `config.json`, `tokenizer.json` and safetensors: a file per part, for a service to read its
//! own alone, or one file in all, to embed.

use std::path::Path;

use crate::checkpoint::{Checkpoint, OpenOptions};
use crate::dtype::Collected;
use crate::error::WeightsError;
use crate::manifest::{self, TensorSpec};
use crate::writer::{Division, Draft, Planned, Progress};
use crate::{Part, StoredDtype};

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Number of tensors.
    pub n_tensors: usize,
    /// Bytes of their values.
    pub n_bytes: u64,
    /// SHA-256 of the tensors that the model uses, as [`crate::LoadedTensors::sha256`] tells it.
    pub sha256: String,
    /// What should be known about the source.
    pub notices: Vec<String>,
}

/// Writes the checkpoint in `source` to the new folder `destination`, in `dtype` or as it is stored.
///
/// Everything is checked before a byte is written, and what was written is read back before it gets its name.
///
/// # Errors
/// As [`Checkpoint::open`] and [`Checkpoint::load`]; when `destination` is taken, or cannot be written.
pub fn convert(
    source: &Path,
    destination: &Path,
    options: &OpenOptions,
    dtype: Option<StoredDtype>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Converted, WeightsError> {
    let checkpoint = Checkpoint::open_with(source, options)?;
    write(&checkpoint, destination, Division::Parts, dtype, progress)
}

/// Writes an opened checkpoint to the new folder `destination` as three files, `config.json`, `tokenizer.json` and one
/// `model.safetensors`, in `dtype` or as it is stored: what [`Checkpoint::embedded`] takes.
///
/// Everything is checked before a byte is written, and what was written is read back before it gets its name.
///
/// # Errors
/// As [`Checkpoint::load`]; when `destination` is taken, or cannot be written.
pub fn pack(
    checkpoint: &Checkpoint,
    destination: &Path,
    dtype: Option<StoredDtype>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Converted, WeightsError> {
    write(checkpoint, destination, Division::One, dtype, progress)
}

fn write(
    checkpoint: &Checkpoint,
    destination: &Path,
    division: Division,
    dtype: Option<StoredDtype>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Converted, WeightsError> {
    let specs = specs(checkpoint);
    checkpoint.check(&specs)?;
    let tokenizer = checkpoint.tokenizer()?;
    let draft = Draft::new(destination)?;
    draft.write_config(checkpoint.config())?;
    draft.write("tokenizer.json", &tokenizer)?;
    let planned = plan(checkpoint, specs, dtype);
    let fill = |tensor: &Planned, write: &mut dyn FnMut(&[u8]) -> std::io::Result<()>| copy(checkpoint, tensor, write);
    let n_bytes = draft.write_tensors(&planned, division, fill, progress)?;
    let written = Checkpoint::open(draft.path())?;
    let sha256 = written.check(&manifest::tensors(written.config(), &written.parts()))?;
    draft.publish()?;
    Ok(Converted { n_tensors: planned.len(), n_bytes, sha256, notices: checkpoint.notices().to_vec() })
}

/// The model's tensors and, where it is there, the vision tower's pooling head: nothing published is lost.
fn specs(checkpoint: &Checkpoint) -> Vec<TensorSpec> {
    let mut specs = manifest::tensors(checkpoint.config(), &checkpoint.parts());
    let entries = checkpoint.source().entries();
    let head = manifest::skipped(checkpoint.config()).into_iter().filter(|spec| spec.part == Part::Siglip);
    specs.extend(head.filter(|spec| entries.contains_key(&spec.name)));
    specs
}

fn plan(checkpoint: &Checkpoint, specs: Vec<TensorSpec>, dtype: Option<StoredDtype>) -> Vec<Planned> {
    let entries = checkpoint.source().entries();
    specs
        .into_iter()
        .filter_map(|spec| {
            let stored = entries.get(&spec.name)?.dtype;
            Some(Planned { spec, dtype: dtype.unwrap_or(stored) })
        })
        .collect()
}

fn copy(
    checkpoint: &Checkpoint,
    tensor: &Planned,
    write: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), WeightsError> {
    let io = |e| WeightsError::io(checkpoint.path(), e);
    let Some(entry) = checkpoint.source().entries().get(&tensor.spec.name) else {
        return Err(WeightsError::malformed(checkpoint.path(), format!("{} is gone", tensor.spec.name)));
    };
    let mut written = Ok(());
    let read = checkpoint.source().pieces(entry, |bytes| {
        if written.is_ok() {
            written = if entry.dtype == tensor.dtype {
                write(bytes)
            } else {
                Collected::converted(entry.dtype, bytes, tensor.dtype).and_then(|bytes| write(&bytes))
            };
        }
    });
    read.and(written).map_err(io)
}
