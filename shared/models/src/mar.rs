//! The masked autoregressive encoder and decoder: ViT stacks over the places of an image's latent grid.
//!
//! Both run on packed rows: images of different grids, and with different numbers of known places, share every matrix
//! product, and only attention runs per image. Buffer tokens stand in front of an image's places here; the language
//! model wants them behind, which is the caller's concern. Positional tables are resized once per grid, never per call.
//!
//! Two parts share their names with those of the autoencoder, so write them qualified: [`mar::Encoder`](Encoder),
//! [`mar::Decoder`](Decoder).

mod block;
mod decoder;
mod encoder;
mod grid;
mod positions;

pub use block::{Asked, Block, Stack};
pub use decoder::{Canvas, Decoder};
pub use encoder::{Encoder, Visible};
pub use grid::ImageGrid;
pub use positions::PositionTable;

/// Channels of a place's latent (model page, section 2).
pub const LATENT_CHANNELS: usize = 16;
