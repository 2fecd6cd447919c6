//! Any decoded pixel layout to opaque 8-bit RGB.

use image::DynamicImage;

use crate::{ImageError, Rgb8};

/// Lays transparency over white, repeats grey, and rounds deeper samples to 8 bits.
///
/// # Errors
/// `Unsupported` for a sample layout that no decoder of ours yields today.
pub(crate) fn flatten(image: DynamicImage, format: &'static str) -> Result<Rgb8, ImageError> {
    let (width, height) = (image.width(), image.height());
    let data = match image {
        // The common case costs no copy.
        DynamicImage::ImageRgb8(buffer) => buffer.into_raw(),
        DynamicImage::ImageLuma8(buffer) => each(buffer.as_raw(), |&[l]| [l, l, l]),
        DynamicImage::ImageLumaA8(buffer) => each(buffer.as_raw(), |&[l, a]| over_white([l, l, l], a)),
        DynamicImage::ImageRgba8(buffer) => each(buffer.as_raw(), |&[r, g, b, a]| over_white([r, g, b], a)),
        DynamicImage::ImageLuma16(buffer) => each(buffer.as_raw(), |&[l]| [to_8(l); 3]),
        DynamicImage::ImageLumaA16(buffer) => each(buffer.as_raw(), |&[l, a]| over_white([to_8(l); 3], to_8(a))),
        DynamicImage::ImageRgb16(buffer) => each(buffer.as_raw(), |&[r, g, b]| [to_8(r), to_8(g), to_8(b)]),
        DynamicImage::ImageRgba16(buffer) => {
            each(buffer.as_raw(), |&[r, g, b, a]| over_white([to_8(r), to_8(g), to_8(b)], to_8(a)))
        }
        DynamicImage::ImageRgb32F(buffer) => each(buffer.as_raw(), |rgb: &[f32; 3]| rgb.map(unit_to_8)),
        DynamicImage::ImageRgba32F(buffer) => {
            each(buffer.as_raw(), |&[r, g, b, a]: &[f32; 4]| over_white([r, g, b].map(unit_to_8), unit_to_8(a)))
        }
        other => {
            let reason = format!("samples of type {:?}", other.color());
            return Err(ImageError::Unsupported { format, reason });
        }
    };
    Rgb8::new(width, height, data)
}

/// Maps every pixel of `N` samples to RGB.
fn each<T, const N: usize>(samples: &[T], to_rgb: impl Fn(&[T; N]) -> [u8; 3]) -> Vec<u8> {
    let (pixels, _) = samples.as_chunks::<N>();
    let mut rgb = Vec::with_capacity(pixels.len() * 3);
    pixels.iter().for_each(|pixel| rgb.extend_from_slice(&to_rgb(pixel)));
    rgb
}

/// `rgb·a + white·(1 − a)`, rounded.
fn over_white(rgb: [u8; 3], alpha: u8) -> [u8; 3] {
    let alpha = u32::from(alpha);
    rgb.map(|sample| ((u32::from(sample) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
}

/// 0..=65535 to 0..=255, rounded.
fn to_8(sample: u16) -> u8 {
    ((u32::from(sample) + 128) / 257) as u8
}

/// 0..=1 to 0..=255, rounded and clamped; not-a-number is black.
fn unit_to_8(sample: f32) -> u8 {
    (sample.clamp(0.0, 1.0) * 255.0).round() as u8
}
