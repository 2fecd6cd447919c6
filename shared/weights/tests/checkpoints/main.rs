//! Whole checkpoints, forged: bad ones of every kind, and good ones in the layouts that releases have.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod forge;
mod hostile;
mod released;

use std::path::{Path, PathBuf};

use unipic_weights::{Checkpoint, OpenOptions, WeightsError};

/// Opens a checkpoint with this crate's helper as the reader of pickles.
fn open(path: &Path) -> Result<Checkpoint, WeightsError> {
    let options =
        OpenOptions { layout: None, pickle_reader: Some(PathBuf::from(env!("CARGO_BIN_EXE_unipic-convert"))) };
    Checkpoint::open_with(path, &options)
}
