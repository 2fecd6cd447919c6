//! A walk over a JPEG file's markers, before the decoder sees it.
//!
//! The decoder is lenient where we must not be: it fills the rest of a cut-off picture with grey, and it reads every
//! four-ink file as if Adobe had written it. The walk also tells the size before the decoder allocates anything.

use crate::ImageError;

const NAME: &str = "JPEG";

/// What the markers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JpegFacts {
    /// Declared width in pixels.
    pub(crate) width: u32,
    /// Declared height in pixels.
    pub(crate) height: u32,
    /// All coefficients are kept until the last scan.
    pub(crate) progressive: bool,
}

/// Walks from the start marker to the end-of-image marker.
///
/// # Errors
/// `Truncated` when the end marker does not come, `Malformed` when a segment is impossible, `Unsupported` for four inks
/// without Adobe's marker: nothing then says whether 255 is full ink or none.
pub(crate) fn scan(bytes: &[u8]) -> Result<JpegFacts, ImageError> {
    let mut facts = None;
    let mut inks = 0;
    let mut adobe = false;
    let mut pos = 2;
    loop {
        let marker = next_marker(bytes, &mut pos)?;
        if marker == 0xD9 {
            break;
        }
        // Restart markers, the start marker and TEM stand alone.
        if matches!(marker, 0x01 | 0xD0..=0xD8) {
            continue;
        }
        let body = segment(bytes, &mut pos)?;
        match marker {
            // Start of frame, all kinds; C4, C8 and CC are tables and an extension.
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let &[_, h1, h0, w1, w0, n, ..] = body else {
                    return Err(malformed("its frame header is too short"));
                };
                let (width, height) =
                    (u32::from(u16::from_be_bytes([w1, w0])), u32::from(u16::from_be_bytes([h1, h0])));
                facts = Some(JpegFacts { width, height, progressive: marker == 0xC2 });
                inks = n;
            }
            0xEE if body.starts_with(b"Adobe") => adobe = true,
            _ => {}
        }
    }
    if inks == 4 && !adobe {
        let reason = "four inks (CMYK) without an Adobe marker".to_owned();
        return Err(ImageError::Unsupported { format: NAME, reason });
    }
    facts.ok_or_else(|| malformed("it has no frame header"))
}

/// Finds the next marker at or behind `pos`, over entropy-coded data and fill bytes, and steps behind it.
fn next_marker(bytes: &[u8], pos: &mut usize) -> Result<u8, ImageError> {
    while let Some(pair) = bytes.get(*pos..*pos + 2) {
        match (pair[0], pair[1]) {
            // FF 00 is a stuffed data byte; FF FF is fill, and the second may begin the marker.
            (0xFF, code) if code != 0x00 && code != 0xFF => {
                *pos += 2;
                return Ok(code);
            }
            _ => *pos += 1,
        }
    }
    Err(truncated("the end-of-image marker is missing"))
}

/// Takes a segment's body and steps behind it.
fn segment<'a>(bytes: &'a [u8], pos: &mut usize) -> Result<&'a [u8], ImageError> {
    let Some(&[hi, lo]) = bytes.get(*pos..*pos + 2) else {
        return Err(truncated("it ends inside a header"));
    };
    let length = usize::from(u16::from_be_bytes([hi, lo]));
    if length < 2 {
        return Err(malformed("a segment is shorter than its own length field"));
    }
    let body = bytes.get(*pos + 2..*pos + length).ok_or_else(|| truncated("it ends inside a header"))?;
    *pos += length;
    Ok(body)
}

fn truncated(reason: &str) -> ImageError {
    ImageError::Truncated { format: NAME, reason: reason.to_owned() }
}

fn malformed(reason: &str) -> ImageError {
    ImageError::Malformed { format: NAME, reason: reason.to_owned() }
}
