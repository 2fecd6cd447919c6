//! The understanding service: the SigLIP2 vision tower and its projector into the language model.
//!
//! Stateless: an image in, the embeddings that the language model sees for it out. The core ([`Understanding`]) knows no
//! network and is what the single-process node calls; [`grpc`] adapts it to the wire and [`server`] is the process.
//!
//! A release without `siglip2_proj` tensors cannot understand images this way. The service then runs all the same and
//! says so, so that a deployment need not differ between checkpoints; understanding takes the MAR path there.

pub mod config;
pub mod grpc;
pub mod server;

mod encoder;
mod understanding;

pub use encoder::{Info, LoadPartsError, PARTS, Parts};
pub use understanding::Understanding;
