//! Checkpoints: their configuration, their layouts on disk, their exact set of tensors, and how tensors get from there
//! into a model part.
//!
//! A checkpoint is untrusted input. Its sizes are validated, its headers are checked against the file's true length,
//! its tensors against the model's exact list of names and shapes, its values for being finite; and all of that is done
//! before a model part sees any of it. Nothing is memory-mapped, and a pickle is never parsed in this process.

pub mod config;
pub mod manifest;
pub mod pickle;
pub mod plan;

mod checkpoint;
mod convert;
mod dtype;
mod error;
mod header;
mod layout;
mod limits;
mod loaded;
mod part;
mod random;
mod save;
mod sizes;
mod source;
mod writer;

pub use checkpoint::{Checkpoint, EmbeddedFiles, OpenOptions, StoredTensor};
pub use convert::{Converted, convert, pack};
pub use dtype::StoredDtype;
pub use error::{Misshapen, TensorFaults, WeightsError};
pub use layout::Layout;
pub use loaded::LoadedTensors;
pub use part::Part;
pub use random::{random, tokenizer_json};
pub use save::save;
pub use writer::Progress;
