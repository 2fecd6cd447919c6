//! The KL autoencoder between pixels and the latents that MAR reads and writes (model page, section 2).
//!
//! Encoder and decoder are loaded separately because no service needs both in one place: generation only decodes, and
//! only edits and the `mar` understanding path encode. Images run one at a time, so that an image's bits do not depend on
//! its company, and so that peak memory is that of one image: at 1024×1024 px one f32 activation of the outermost level
//! is 512 MiB, which is why every function here hands its tensors over by value and drops them at the first chance.

mod blocks;
mod decoder;
mod encoder;
mod pixels;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use pixels::{pixels_from_u8, pixels_to_u8};

/// ε of every GroupNorm.
const NORM_EPS: f64 = 1e-6;
