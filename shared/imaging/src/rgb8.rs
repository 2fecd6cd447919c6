//! The one pixel type of the crate: 8-bit RGB, rows from the top, no padding between rows.

use crate::ImageError;

/// An image, `data[(y·width + x)·3 + channel]`, that is `[height, width, 3]` row-major.
#[derive(Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// Pixels in a row; at least 1.
    pub width: u32,
    /// Rows; at least 1.
    pub height: u32,
    /// `height · width · 3` samples.
    pub data: Vec<u8>,
}

impl Rgb8 {
    /// Wraps samples whose number must fit the size.
    ///
    /// # Errors
    /// [`ImageError::WrongLength`] when a side is zero or `data` has another length than `width · height · 3`.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Result<Self, ImageError> {
        let wanted = u128::from(width) * u128::from(height) * 3;
        if wanted == 0 || wanted != data.len() as u128 {
            return Err(ImageError::WrongLength { width, height, got: data.len() });
        }
        Ok(Self { width, height, data })
    }

    /// An image of one colour. A side of zero counts as 1, so that every image has a pixel.
    #[must_use]
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let data = colour.repeat(width as usize * height as usize);
        Self { width, height, data }
    }

    /// Bytes in one row.
    pub(crate) fn stride(&self) -> usize {
        self.width as usize * 3
    }
}

impl std::fmt::Debug for Rgb8 {
    /// The size only: pixels are never logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rgb8({}x{})", self.width, self.height)
    }
}
