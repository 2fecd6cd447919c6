//! What can be wrong with an image file, in words that can be shown to whoever sent it.

/// Why an image was refused. Every variant but [`ImageError::CodecFault`] and [`ImageError::Encode`] is the sender's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No bytes at all.
    #[error("the image is empty")]
    Empty,
    /// The file is larger than allowed.
    #[error("the image file has {got} bytes, more than the limit of {limit}")]
    TooManyBytes {
        /// Bytes of the file.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The first bytes belong to no format we know.
    #[error("not an image we can read: the file is none of PNG, JPEG, WebP, GIF, BMP, TIFF")]
    UnknownFormat,
    /// A side is zero.
    #[error("the image has no pixels ({width}x{height})")]
    NoPixels {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
    },
    /// Too many pixels.
    #[error("the image is {width}x{height} pixels, more than the limit of {limit} pixels in all")]
    TooManyPixels {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// One side is longer than any image may be.
    #[error("the image is {width}x{height} pixels; no side may be longer than {limit}")]
    SideTooLong {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// Pixels a side may have.
        limit: u32,
    },
    /// Decoding would take more memory than allowed.
    #[error("decoding the image would take {needed} bytes of memory, more than the limit of {limit}")]
    TooMuchMemory {
        /// Bytes it would take, as far as they are known.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The file ends before the image does.
    #[error("the {format} file is cut off: {reason}")]
    Truncated {
        /// Name of the format.
        format: &'static str,
        /// What was missing.
        reason: String,
    },
    /// The file breaks its format's rules.
    #[error("the {format} file is damaged: {reason}")]
    Malformed {
        /// Name of the format.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// A variety of the format that is not handled.
    #[error("this kind of {format} file is not supported: {reason}")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// Which feature.
        reason: String,
    },
    /// A mask by transparency in a file that has none.
    #[error("the {format} file has no alpha channel, so nothing in it is transparent")]
    NoAlpha {
        /// Name of the format.
        format: &'static str,
    },
    /// The decoder for the format failed on the file in a way it should not have.
    #[error("the {format} decoder failed on this file")]
    CodecFault {
        /// Name of the format.
        format: &'static str,
    },
    /// Samples and size do not fit.
    #[error("{got} samples do not make a {width}x{height} RGB image")]
    WrongLength {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Number of samples given.
        got: usize,
    },
    /// An image has another size than the one it belongs to.
    #[error("{}x{} pixels, where {}x{} are needed", got.0, got.1, wanted.0, wanted.1)]
    OtherSize {
        /// Width and height needed.
        wanted: (u32, u32),
        /// Width and height that came.
        got: (u32, u32),
    },
    /// An image could not be written.
    #[error("the image could not be encoded as {format}: {reason}")]
    Encode {
        /// Name of the format.
        format: &'static str,
        /// What the encoder said.
        reason: String,
    },
}
