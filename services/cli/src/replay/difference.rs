//! How two image files differ, in words that say what to look for.

use std::fmt;

use serde::Serialize;
use unipic_imaging::{DecodeLimits, Rgb8, decode};

/// How two image files differ.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Difference {
    /// Not at all.
    None,
    /// The pixels are the same, what is written beside them is not.
    File,
    /// Some pixels differ.
    Pixels {
        /// Pixels that differ.
        n: usize,
        /// Pixels in all.
        of: usize,
        /// The largest difference of a sample, of 255.
        most: u8,
    },
    /// The sizes differ, or one of the files is damaged.
    Images,
}

impl Difference {
    /// Compares a file with the one that was made again.
    pub(super) fn between(file: &[u8], again: &[u8]) -> Self {
        if file == again {
            return Self::None;
        }
        let pixels = |file| decode(file, &DecodeLimits::default());
        match (pixels(file), pixels(again)) {
            (Ok(one), Ok(other)) => Self::of_pixels(&one, &other),
            _ => Self::Images,
        }
    }

    fn of_pixels(one: &Rgb8, other: &Rgb8) -> Self {
        if (one.width, one.height) != (other.width, other.height) {
            return Self::Images;
        }
        let distance = |(a, b): (&[u8], &[u8])| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
        let (mut n, mut most) = (0, 0);
        for distance in one.data.chunks_exact(3).zip(other.data.chunks_exact(3)).map(distance) {
            n += usize::from(distance > 0);
            most = most.max(distance);
        }
        if n == 0 { Self::File } else { Self::Pixels { n, of: one.data.len() / 3, most } }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("nothing differs"),
            Self::File => f.write_str("the pixels are equal, but the file says other things, or is written otherwise"),
            Self::Pixels { n, of, most } => write!(f, "{n} of {of} pixels differ, by at most {most} of 255"),
            Self::Images => f.write_str("the sizes differ, or the file is damaged"),
        }
    }
}

#[cfg(test)]
mod tests {
    use unipic_imaging::{Format, encode};

    use super::*;

    #[test]
    fn what_differs_is_told() {
        let png = |image: &Rgb8, text| encode(image, Format::Png, &[("a", text)]).unwrap();
        let image = Rgb8::filled(3, 2, [10; 3]);
        let mut other = image.clone();
        (other.data[4], other.data[5], other.data[17]) = (13, 0, 11);
        let file = png(&image, "x");
        assert_eq!(Difference::between(&file, &file), Difference::None);
        assert_eq!(Difference::between(&file, &png(&image, "y")), Difference::File);
        assert_eq!(Difference::between(&file, &png(&other, "x")), Difference::Pixels { n: 2, of: 6, most: 10 });
        assert_eq!(Difference::between(&file, &png(&Rgb8::filled(2, 3, [10; 3]), "x")), Difference::Images);
        assert_eq!(Difference::between(&file[..file.len() / 2], &file), Difference::Images);
    }
}
