//! The synthesis service: VAE, MAR encoder and decoder, diffusion head and the projectors around the language model.
//!
//! It owns the loop of a generation. An iteration encodes the known places, probes the language model, decodes, samples
//! the places to reveal, and reveals them; each of these is a job of its own on the device's thread, so that requests at
//! different sizes and iterations share passes, and so that a cancelled request stops within one step.
//!
//! The core ([`Synthesis`]) knows no network: it takes any [`LanguageModel`], and is what the single-process node runs.
//! [`remote`] is the language model over gRPC, [`grpc`] the service's own adapter, [`server`] the process.

pub mod config;
pub mod device;
pub mod event;
pub mod grpc;
pub mod image;
pub mod language;
pub mod remote;
pub mod server;
pub mod spec;

mod conversation;
mod convert;
mod drive;
mod metrics;
mod synthesis;

pub use conversation::Conversation;
pub use device::{Info, LoadPartsError, PARTS, Parts};
pub use event::{Picture, Progress, SynthesisEvent, Timings};
pub use image::RgbImage;
pub use language::{LanguageModel, LanguageSession, ProbeSegment, Traffic};
pub use spec::{Bounds, SynthesisSpec};
pub use synthesis::{Limits, Synthesis};
