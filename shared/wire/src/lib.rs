//! candle tensors to frames and back.
//!
//! Byte-level rules (lengths, shapes, checksums) are `unipic_api::frames`'s. Here bytes become values: element types are
//! matched, and a value that is not finite is refused on both ways, because it would otherwise travel unseen through
//! every service and end as an image.
//!
//! Encoding copies a tensor once, out of candle's storage; its frames share that copy. Decoding copies once, into
//! candle's. The wire is little-endian, and so is every machine this builds for.

mod decode;
mod encode;
mod stream;

pub use decode::{DecodeError, decode, expect_shape};
pub use encode::{EncodeError, encode, frames};
pub use stream::{receive, receive_raw};
pub use unipic_api::frames::{FrameLimits, RawTensor};

#[cfg(target_endian = "big")]
compile_error!("tensors travel as little-endian bytes, and this crate does not swap them");
