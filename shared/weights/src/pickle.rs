//! Released checkpoints are pickles, and a pickle is a program. It is never run, and never even parsed in this process.
//!
//! A child process, this same program started again under memory, stack and time limits, reads the archive's directory
//! and interprets the small part of the pickle language that `torch.save` uses for tensors, with nothing to call. It
//! answers with a list: name, dtype, shape, and where in the file the values are. They are stored plainly, so this
//! process then reads them from the `.bin` file by position, exactly as from a safetensors file and with the same
//! checks: opening a released folder copies nothing and writes nothing.
//!
//! A program that opens released folders calls [`child_main`] first thing in `main`. Where it does not (a test binary),
//! the program `unipic-convert` of this crate is looked for beside it.

mod archive;
mod child;
mod index;
mod machine;
mod parent;

pub use child::child_main;

use std::fs::File;
use std::path::Path;

use crate::error::WeightsError;
use crate::layout::Located;
use crate::source::{Bytes, Source};

/// The key under which the autoencoder's file has its tensors.
const VAE_KEY: &str = "model";

/// Adds the tensors of a released folder's pickles under their canonical names.
pub(crate) fn add(source: &mut Source, located: &Located, reader: Option<&Path>) -> Result<(), WeightsError> {
    let reader = parent::program(reader).map_err(|why| WeightsError::pickle(&located.root, why))?;
    for path in &located.tensors {
        add_one(source, path, &reader, None, Some)?;
    }
    if let Some(path) = &located.vae_pickle {
        add_one(source, path, &reader, Some(VAE_KEY), |name| Some(format!("vae.{name}")))?;
    }
    Ok(())
}

fn add_one(
    source: &mut Source,
    path: &Path,
    reader: &Path,
    key: Option<&str>,
    rename: impl Fn(String) -> Option<String>,
) -> Result<(), WeightsError> {
    let index = parent::read(path, reader, key).map_err(|why| WeightsError::pickle(path, why))?;
    let file = Bytes::File(File::open(path).map_err(|e| WeightsError::io(path, e))?);
    let length = file.len().map_err(|e| WeightsError::io(path, e))?;
    let number = source.n_files();
    let mut entries = Vec::with_capacity(index.len());
    for tensor in index {
        let entry = tensor.entry(number, length).map_err(|why| {
            WeightsError::malformed(path, format!("tensor `{}`: {why}", crate::header::printable(&tensor.name)))
        })?;
        entries.push((tensor.name, entry));
    }
    source.add(path, file, entries, rename)
}
