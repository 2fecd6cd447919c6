//! Decoding of untrusted image files.
//!
//! Rules, which the API documents to users: the format is told by content, never by name; the first frame of an animation
//! counts; EXIF orientation is applied; transparency is laid over white; 16-bit and float samples become 8-bit by rounding;
//! palettes are expanded; embedded colour profiles are ignored, as they were in training; CMYK is converted without a
//! profile (a CMYK JPEG must carry Adobe's marker, which says how its inks are stored); a file that ends early is refused
//! even where a decoder would fill the rest with grey.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::{ImageError as CodecError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::flatten::flatten;
use crate::{ImageError, Mask, MaskConvention, Rgb8, jpeg_scan, tiff_scan};

/// Longest side of an image, in pixels. The bicubic filter's intermediate image has one row per source row, so without
/// this a 1×64,000,000 image within the pixel limit would still take tens of gigabytes.
pub const MAX_SIDE: u32 = 32_768;

/// What a file may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of the file.
    pub max_bytes: usize,
    /// Pixels, width times height, of the declared size.
    pub max_pixels: u64,
    /// Bytes of memory that decoding may take, the decoded image included.
    pub max_alloc_bytes: u64,
}

impl Default for DecodeLimits {
    /// 32 MiB of file, 64 million pixels, 512 MiB of memory.
    fn default() -> Self {
        Self { max_bytes: 32 << 20, max_pixels: 64_000_000, max_alloc_bytes: 512 << 20 }
    }
}

/// Reads a PNG, JPEG, WebP, GIF, BMP or TIFF file, told apart by content.
///
/// The declared size is checked before any pixel is decoded, so a small file cannot claim a large image.
///
/// # Errors
/// [`ImageError`] says what is wrong with the file. Never panics: a decoder that does is contained and reported as
/// [`ImageError::CodecFault`].
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Rgb8, ImageError> {
    contained(bytes, limits, |format, name| {
        let (pixels, orientation) = open(bytes, format, name, limits, false)?;
        upright(flatten(pixels, name)?, orientation, name)
    })
}

/// Reads a mask from a file, under the same rules and limits; what it marks is told by `convention`.
///
/// # Errors
/// As [`decode`], and [`ImageError::NoAlpha`] for a file that cannot say what is transparent.
pub fn decode_mask(bytes: &[u8], limits: &DecodeLimits, convention: MaskConvention) -> Result<Mask, ImageError> {
    contained(bytes, limits, |format, name| {
        let (mut pixels, orientation) = open(bytes, format, name, limits, true)?;
        if convention == MaskConvention::Transparent && !pixels.color().has_alpha() {
            return Err(ImageError::NoAlpha { format: name });
        }
        pixels = DynamicImage::ImageLumaA8(pixels.into_luma_alpha8());
        pixels.apply_orientation(orientation);
        Ok(Mask::of_luma_alpha(&pixels.into_luma_alpha8(), convention))
    })
}

/// Judges a file's length and format, and runs a codec on it.
fn contained<T>(
    bytes: &[u8],
    limits: &DecodeLimits,
    read: impl FnOnce(ImageFormat, &'static str) -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if bytes.len() > limits.max_bytes {
        return Err(ImageError::TooManyBytes { got: bytes.len(), limit: limits.max_bytes });
    }
    let format = image::guess_format(bytes).map_err(|_| ImageError::UnknownFormat)?;
    let name = format_name(format).ok_or(ImageError::UnknownFormat)?;
    // The codecs are other people's and read hostile input; one of them failing must not take the caller down.
    catch_unwind(AssertUnwindSafe(|| read(format, name))).unwrap_or(Err(ImageError::CodecFault { format: name }))
}

/// Decodes a file of a known format: headers, checks, pixels, and how they are turned. `converts` tells that the caller
/// makes a copy of another layout.
fn open(
    bytes: &[u8],
    format: ImageFormat,
    name: &'static str,
    limits: &DecodeLimits,
    converts: bool,
) -> Result<(DynamicImage, Orientation), ImageError> {
    let jpeg = match format {
        ImageFormat::Jpeg => Some(jpeg_scan::scan(bytes)?),
        _ => None,
    };
    if format == ImageFormat::Tiff {
        tiff_scan::scan(bytes, limits.max_alloc_bytes)?;
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut codec_limits = Limits::default();
    codec_limits.max_image_width = Some(MAX_SIDE);
    codec_limits.max_image_height = Some(MAX_SIDE);
    codec_limits.max_alloc = Some(limits.max_alloc_bytes);
    let known_size = jpeg.as_ref().map(|facts| (facts.width, facts.height));
    if let Some((width, height)) = known_size {
        check_size(width, height, limits)?;
    }
    reader.limits(codec_limits);
    let mut decoder = reader.into_decoder().map_err(|error| translate(error, name, limits, known_size))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, limits)?;
    // Broken EXIF data says nothing about the pixels, so it only costs the rotation.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let copied = converts || decoder.color_type() != image::ColorType::Rgb8 || orientation != Orientation::NoTransforms;
    let needed = memory_needed(&decoder, copied, jpeg.is_some_and(|facts| facts.progressive));
    if needed > limits.max_alloc_bytes {
        return Err(ImageError::TooMuchMemory { needed, limit: limits.max_alloc_bytes });
    }
    let size = Some((width, height));
    let pixels = DynamicImage::from_decoder(decoder).map_err(|error| translate(error, name, limits, size))?;
    Ok((pixels, orientation))
}

/// Refuses sizes beyond the limits.
fn check_size(width: u32, height: u32, limits: &DecodeLimits) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::NoPixels { width, height });
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(ImageError::TooManyPixels { width, height, limit: limits.max_pixels });
    }
    if width.max(height) > MAX_SIDE {
        return Err(ImageError::SideTooLong { width, height, limit: MAX_SIDE });
    }
    Ok(())
}

/// Bytes that decoding takes at its peak: the decoder's output, the RGB copy where one is made, and a progressive JPEG's
/// coefficients (two bytes a sample, all kept until the last scan).
fn memory_needed(decoder: &impl ImageDecoder, copied: bool, progressive: bool) -> u64 {
    let (width, height) = decoder.dimensions();
    let decoded = decoder.total_bytes();
    let rgb = u64::from(width) * u64::from(height) * 3;
    let coefficients = if progressive { rgb.saturating_mul(2) } else { 0 };
    decoded.saturating_add(coefficients.max(if copied { rgb } else { 0 }))
}

/// Applies the EXIF orientation.
fn upright(image: Rgb8, orientation: Orientation, name: &'static str) -> Result<Rgb8, ImageError> {
    if orientation == Orientation::NoTransforms {
        return Ok(image);
    }
    let buffer = image::RgbImage::from_raw(image.width, image.height, image.data)
        .ok_or(ImageError::CodecFault { format: name })?;
    let mut turned = DynamicImage::ImageRgb8(buffer);
    turned.apply_orientation(orientation);
    let (width, height) = (turned.width(), turned.height());
    Rgb8::new(width, height, turned.into_bytes())
}

/// Names of the formats we accept; the compiled-in decoders are exactly these.
fn format_name(format: ImageFormat) -> Option<&'static str> {
    Some(match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => return None,
    })
}

/// Turns a codec's error into ours.
fn translate(error: CodecError, format: &'static str, limits: &DecodeLimits, size: Option<(u32, u32)>) -> ImageError {
    let reason = error.to_string();
    match error {
        CodecError::Limits(limit) => match (limit.kind(), size) {
            (LimitErrorKind::DimensionError, Some((width, height))) => {
                ImageError::SideTooLong { width, height, limit: MAX_SIDE }
            }
            (LimitErrorKind::DimensionError, None) => {
                ImageError::Unsupported { format, reason: format!("a side is longer than {MAX_SIDE} pixels") }
            }
            _ => ImageError::TooMuchMemory {
                needed: limits.max_alloc_bytes.saturating_add(1),
                limit: limits.max_alloc_bytes,
            },
        },
        CodecError::Unsupported(_) => ImageError::Unsupported { format, reason },
        CodecError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format, reason: "the file ends inside the image".to_owned() }
        }
        _ => ImageError::Malformed { format, reason },
    }
}
