//! Numeric building blocks of the model: linear layers, norms, attention over packed segments, rotary positions,
//! convolutions and the key-value cache.
//!
//! Every operation exists twice behind one call, chosen by the value [`Ops`] at load: a differentiable reference, which
//! the trainer needs because candle's fused operations silently drop gradients, and an inference form. A model is
//! written once, over these blocks.
//!
//! Two rules hold everywhere in the inference form on CPU. Sequences are packed: a batch is one `[T, width]` matrix and
//! a list of segments, never a padded tensor. And a row's result never depends on how many other rows share the call,
//! so that a request gives the same bits alone and in any company.

pub mod activation;
pub mod attention;
pub mod build;
pub mod cache;
pub mod conv;
pub mod dropout;
mod grad;
mod kernels;
pub mod linear;
mod memory;
pub mod norm;
pub mod ops;
pub mod rope;
pub mod shares;

pub use attention::{
    AttentionSegment, HeadLayout, Mask, attend, attend_joint, attend_joint_asked, attend_joint_dropping,
};
pub use build::{Build, LinearFormat};
pub use cache::KvCache;
pub use conv::Conv2d;
pub use dropout::Dropout;
pub use linear::Linear;
pub use memory::is_out_of_memory;
pub use norm::{GroupNorm, LayerNorm, RmsNorm};
pub use ops::Ops;
pub use rope::{Angles, Rotary};
pub use shares::Shares;
