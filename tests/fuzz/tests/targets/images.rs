//! Image files, as edits and questions bring them.

use std::time::Duration;

use fuzz::{Bounds, Outcome, Target};
use unipic_imaging::{DecodeLimits, Format, ImageError, Rgb8, decode, encode};

const LIMITS: DecodeLimits = DecodeLimits { max_bytes: 4 << 20, max_pixels: 4_000_000, max_alloc_bytes: 64 << 20 };

const TARGET: Target = Target {
    name: "images",
    // What decoding may take, and the pixels that it hands on: 4 million of 3 bytes, and a copy while they are turned.
    bounds: Bounds { bytes: (64 << 20) + 2 * 3 * 4_000_000, time: Duration::from_secs(20) },
    rounds: 40,
    words: &["IHDR", "PLTE", "tRNS", "acTL", "fcTL", "IDAT", "IEND", "eXIf", "VP8X", "ANIM", "ALPH", "GIF89a", "\u{1}"],
};

fn judge(input: &[u8]) -> Outcome {
    match decode(input, &LIMITS) {
        Ok(image) if image.data.len() != image.width as usize * image.height as usize * 3 => {
            Outcome::Broken(format!("{}×{} of {} bytes", image.width, image.height, image.data.len()))
        }
        Ok(image) if u64::from(image.width) * u64::from(image.height) > LIMITS.max_pixels => {
            Outcome::Broken(format!("{}×{} are too many pixels", image.width, image.height))
        }
        Ok(_) => Outcome::Taken,
        Err(ImageError::CodecFault { .. }) => Outcome::Broken("a codec panics".into()),
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

/// A file of every format that we write; the corpus has the others.
fn seeds() -> Vec<Vec<u8>> {
    let data = (0..24 * 16 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let picture = Rgb8::new(24, 16, data).expect("the bytes of its pixels");
    let write = |format| encode(&picture, format, &[("parameters", "seed 7")]).expect("it encodes");
    [Format::Png, Format::Jpeg, Format::WebP].map(write).into()
}

#[test]
fn images_are_pixels_or_refused() -> anyhow::Result<()> {
    stated!(TARGET.replay(&seeds(), judge)?)
}
