//! Image files in, image files out, and the two squares the model was trained on.
//!
//! Everything that reaches [`decode`] is untrusted: sizes are judged before a pixel is decoded, every failure is a typed
//! [`ImageError`] that a caller can show to the sender, and nothing here panics on data. [`resize_bicubic`] repeats PIL's
//! arithmetic to the last bit, because the model's preprocessing was PIL's; another bicubic filter would be another model.
//!
//! The crate knows neither tensors nor gRPC: pixels are a [`Rgb8`], so gateway, CLI and parity harness share it.

mod blend;
mod decode;
mod encode;
mod error;
mod flatten;
mod geometry;
mod jpeg_scan;
mod lettering;
mod mask;
mod resize;
mod rgb8;
mod tiff_scan;

pub use blend::Blend;
pub use decode::{DecodeLimits, MAX_SIDE, decode, decode_mask};
pub use encode::{Format, encode, read_png_text};
pub use error::ImageError;
pub use geometry::{CropBox, centre_crop_to_aspect, on_canvas, pad_to_square, square_crop, square_pad};
pub use lettering::{LETTER, dot, write};
pub use mask::{Mask, MaskConvention};
pub use resize::resize_bicubic;
pub use rgb8::Rgb8;
