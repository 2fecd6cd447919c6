//! Images as this service takes and gives them: bytes, never files.

use bytes::Bytes;

/// An RGB image.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// height·width·3 bytes, rows first, channels last.
    pub rgb: Bytes,
}

impl std::fmt::Debug for RgbImage {
    /// Pixels are not logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({}×{})", self.width, self.height)
    }
}
