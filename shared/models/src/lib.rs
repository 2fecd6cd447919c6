//! The parts of UniPic as functions over tensors, and the pure state machines that tie them together: no service, no
//! async, no device thread.
//!
//! Every part has `load(build, config)`, where `build` stands at the root of the checkpoint tree and the part steps down
//! to its own names, so that assembling a whole model or one service's share of it looks the same. State that lives
//! longer than one call (key-value caches, generation progress) belongs to the caller.

pub mod diffusion;
pub mod generation;
pub mod handover;
pub mod load;
pub mod mar;
pub mod nano;
pub mod projector;
pub mod prompt;
pub mod qwen2;
pub mod sampling;
pub mod siglip2;
pub mod vae;

pub use handover::Handover;
