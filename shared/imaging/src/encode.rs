//! Writing image files, with a PNG's parameters in its text chunks.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::{ImageError, Rgb8};

/// JPEG quality, 1 to 100; as the API promises.
const JPEG_QUALITY: u8 = 92;

/// A file format we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lossless, carries text.
    Png,
    /// Lossy, quality 92.
    Jpeg,
    /// Lossless WebP.
    WebP,
}

impl Format {
    /// The media type, such as `image/png`.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }

    /// The format that a file begins as; `None` when it is another one, or none.
    #[must_use]
    pub fn of(file: &[u8]) -> Option<Self> {
        match image::guess_format(file).ok()? {
            image::ImageFormat::Png => Some(Self::Png),
            image::ImageFormat::Jpeg => Some(Self::Jpeg),
            image::ImageFormat::WebP => Some(Self::WebP),
            _ => None,
        }
    }

    /// The usual file name extension, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
        }
    }
}

/// Writes an image file. `text` becomes PNG text chunks (`tEXt` where the value is Latin-1, else `iTXt`); the other
/// formats carry none.
///
/// # Errors
/// [`ImageError::WrongLength`] when samples and size do not fit, [`ImageError::Encode`] when the format cannot hold the
/// image (JPEG sides end at 65,535, WebP's at 16,383) or a text key is not 1 to 79 Latin-1 characters.
pub fn encode(image: &Rgb8, format: Format, text: &[(&str, &str)]) -> Result<Vec<u8>, ImageError> {
    if image.data.len() as u128 != u128::from(image.width) * u128::from(image.height) * 3 {
        return Err(ImageError::WrongLength { width: image.width, height: image.height, got: image.data.len() });
    }
    let fail = |reason: String| ImageError::Encode { format: format.name(), reason };
    let mut file = Vec::new();
    let (width, height, colour) = (image.width, image.height, ExtendedColorType::Rgb8);
    match format {
        Format::Png => write_png(image, text, &mut file).map_err(|error| fail(error.to_string()))?,
        Format::Jpeg => JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY)
            .write_image(&image.data, width, height, colour)
            .map_err(|error| fail(error.to_string()))?,
        // The WebP encoder asserts its limit instead of returning an error.
        Format::WebP if width.max(height) > 16_383 => {
            return Err(fail("a side is longer than 16383 pixels".to_owned()));
        }
        Format::WebP => WebPEncoder::new_lossless(&mut file)
            .write_image(&image.data, width, height, colour)
            .map_err(|error| fail(error.to_string()))?,
    }
    Ok(file)
}

/// Writes a PNG through the `png` crate itself, because `image` offers no way to add text.
fn write_png(image: &Rgb8, text: &[(&str, &str)], file: &mut Vec<u8>) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(file, image.width, image.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (key, value) in text {
        // Latin-1 is the first 256 code points; anything else needs the UTF-8 chunk.
        if value.chars().all(|c| (c as u32) < 256 && c != '\0') {
            encoder.add_text_chunk((*key).to_owned(), (*value).to_owned())?;
        } else {
            encoder.add_itxt_chunk((*key).to_owned(), (*value).to_owned())?;
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&image.data)?;
    writer.finish()
}

/// Reads the text chunks that stand before the pixels of a PNG file, keys and values in file order, `tEXt` before `iTXt`.
/// A chunk that is damaged or too large once it is unpacked is left out: other programs write their own.
///
/// # Errors
/// [`ImageError::Malformed`] when the file is no PNG or its header is damaged.
pub fn read_png_text(bytes: &[u8]) -> Result<Vec<(String, String)>, ImageError> {
    let fail = |error: png::DecodingError| ImageError::Malformed { format: "PNG", reason: error.to_string() };
    let reader = png::Decoder::new(Cursor::new(bytes)).read_info().map_err(fail)?;
    let info = reader.info();
    let plain = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
    let mut text: Vec<_> = plain.collect();
    for chunk in &info.utf8_text {
        // Unpacked by itself first: reading a packed text at once knows no limit, and 64 KiB may hold a gigabyte.
        let mut chunk = chunk.clone();
        if chunk.decompress_text().is_ok()
            && let Ok(value) = chunk.get_text()
        {
            text.push((chunk.keyword, value));
        }
    }
    Ok(text)
}
