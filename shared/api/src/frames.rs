//! Tensors as frames of bytes: cutting, reassembly and every check that needs no tensor library.
//!
//! A peer may be wrong or hostile, so the header is judged before anything is kept, memory grows with what has really
//! come rather than with what was declared, and a payload counts only when its length and checksum agree with the
//! header. Values (finite or not) are the business of `unipic-wire`, which knows what they mean.

use bytes::{Bytes, BytesMut};

use crate::limits;
use crate::pb::{DType, TensorFrame, TensorHeader};
use crate::status::{ApiError, FieldViolation};

/// The largest number of axes of a tensor on the wire.
pub const MAX_AXES: usize = 8;

/// What is wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first frame of a tensor has no header.
    #[error("the first frame of a tensor has no header")]
    MissingHeader,
    /// A header came before the tensor begun was complete.
    #[error("a second header came before the tensor was complete")]
    SecondHeader,
    /// The element type is unspecified or unknown.
    #[error("element type {0} is not one of f32, f16, bf16, u8")]
    DType(i32),
    /// More axes than [`MAX_AXES`].
    #[error("{0} axes; at most {MAX_AXES} are accepted")]
    Axes(usize),
    /// An axis of size zero.
    #[error("axis {0} has size zero")]
    ZeroAxis(usize),
    /// The payload's declared length is not what the shape and element type make.
    #[error("n_bytes is {declared}, but the shape takes {shape_takes}")]
    Length {
        /// `n_bytes` of the header.
        declared: u64,
        /// Product of the shape times the element size; saturated.
        shape_takes: u64,
    },
    /// The payload is longer than the receiver accepts.
    #[error("{n_bytes} bytes; at most {max_bytes} are accepted")]
    TooLarge {
        /// `n_bytes` of the header.
        n_bytes: u64,
        /// The receiver's limit.
        max_bytes: u64,
    },
    /// More bytes came than were declared.
    #[error("more bytes came than the {n_bytes} declared")]
    Surplus {
        /// `n_bytes` of the header.
        n_bytes: u64,
    },
    /// A frame that neither begins a tensor nor carries a byte: a stream of them would never end.
    #[error("a frame carries neither a header nor data")]
    Empty,
    /// The payload is not what was sent.
    #[error("the payload's CRC-32 is {computed:08x}, the header says {declared:08x}")]
    Checksum {
        /// `crc32` of the header.
        declared: u32,
        /// Over the bytes that came.
        computed: u32,
    },
    /// The stream ended inside a tensor.
    #[error("the stream ended after {received} of {n_bytes} bytes")]
    Incomplete {
        /// Bytes that came.
        received: u64,
        /// `n_bytes` of the header.
        n_bytes: u64,
    },
}

impl FrameError {
    /// The violation of the frame field at `path`, such as `"source"`.
    pub fn violation(&self, path: &str) -> FieldViolation {
        let field = match self {
            Self::MissingHeader | Self::SecondHeader => "header",
            Self::DType(_) => "header.dtype",
            Self::Axes(_) | Self::ZeroAxis(_) => "header.shape",
            Self::Length { .. } | Self::TooLarge { .. } => "header.n_bytes",
            Self::Checksum { .. } => "header.crc32",
            Self::Surplus { .. } | Self::Empty | Self::Incomplete { .. } => "data",
        };
        FieldViolation::new(format!("{path}.{field}"), self.to_string())
    }

    /// INVALID_ARGUMENT naming the frame field at `path`.
    pub fn at(&self, path: &str) -> ApiError {
        ApiError::Invalid(vec![self.violation(path)])
    }
}

impl From<FrameError> for ApiError {
    fn from(error: FrameError) -> Self {
        error.at("frame")
    }
}

/// Bytes of one element.
///
/// Errors: [`FrameError::DType`] for the unspecified type.
pub fn element_bytes(dtype: DType) -> Result<u64, FrameError> {
    match dtype {
        DType::DtypeF32 => Ok(4),
        DType::DtypeF16 | DType::DtypeBf16 => Ok(2),
        DType::DtypeU8 => Ok(1),
        DType::DtypeUnspecified => Err(FrameError::DType(dtype as i32)),
    }
}

/// A whole tensor whose length fits its shape: row-major little-endian bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTensor {
    /// Element type, never the unspecified one.
    pub dtype: DType,
    /// Size of every axis, outermost first; none is zero.
    pub shape: Vec<u32>,
    /// The elements.
    pub data: Bytes,
}

impl RawTensor {
    /// Checks that `data` is as long as the shape and the element type say.
    ///
    /// Errors: the same as for a header that came over the wire.
    pub fn new(dtype: DType, shape: Vec<u32>, data: Bytes) -> Result<Self, FrameError> {
        let header = TensorHeader { dtype: dtype as i32, shape, n_bytes: data.len() as u64, crc32: 0 };
        check_header(&header, u64::MAX)?;
        Ok(Self { dtype, shape: header.shape, data })
    }

    /// The header that announces this tensor. Reads the whole payload once, for the checksum.
    pub fn header(&self) -> TensorHeader {
        TensorHeader {
            dtype: self.dtype as i32,
            shape: self.shape.clone(),
            n_bytes: self.data.len() as u64,
            crc32: crc32fast::hash(&self.data),
        }
    }

    /// The frames of this tensor at the agreed frame size. The payload is shared, not copied.
    pub fn into_frames(self) -> Frames {
        split(self.header(), self.data, limits::FRAME_BYTES)
    }
}

/// Cuts a payload into frames of at most `max_frame` bytes (at least 1); the first carries the header.
///
/// Nothing is checked and nothing is copied: the frames are slices of `data`.
pub fn split(header: TensorHeader, data: Bytes, max_frame: usize) -> Frames {
    Frames { header: Some(header), rest: data, max_frame: max_frame.max(1) }
}

/// The frames of one tensor, in order. Made by [`split`].
#[derive(Debug, Clone)]
pub struct Frames {
    header: Option<TensorHeader>,
    rest: Bytes,
    max_frame: usize,
}

impl Iterator for Frames {
    type Item = TensorFrame;

    fn next(&mut self) -> Option<TensorFrame> {
        let header = self.header.take();
        if header.is_none() && self.rest.is_empty() {
            return None;
        }
        let data = self.rest.split_to(self.rest.len().min(self.max_frame));
        Some(TensorFrame { header, data })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let data_frames = self.rest.len().div_ceil(self.max_frame);
        let frames = data_frames.max(usize::from(self.header.is_some()));
        (frames, Some(frames))
    }
}

impl ExactSizeIterator for Frames {}

/// What a receiver accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of one tensor's payload.
    pub max_bytes: u64,
}

impl Default for FrameLimits {
    /// [`limits::TENSOR_BYTES`].
    fn default() -> Self {
        Self { max_bytes: limits::TENSOR_BYTES }
    }
}

/// Puts frames together again, one tensor after the other.
#[derive(Debug, Default)]
pub struct Assembler {
    limits: FrameLimits,
    current: Option<Partial>,
}

impl Assembler {
    /// An assembler that refuses what is beyond `limits`.
    pub fn new(limits: FrameLimits) -> Self {
        Self { limits, current: None }
    }

    /// Takes the next frame. Returns the tensor when this frame completes it; the next frame then begins another.
    ///
    /// Errors: see [`FrameError`]. The tensor begun is forgotten, so the next frame must carry a header again.
    pub fn push(&mut self, frame: TensorFrame) -> Result<Option<RawTensor>, FrameError> {
        let TensorFrame { header, data } = frame;
        let mut partial = match (self.current.take(), header) {
            (None, None) => return Err(FrameError::MissingHeader),
            (Some(_), Some(_)) => return Err(FrameError::SecondHeader),
            (Some(_), None) if data.is_empty() => return Err(FrameError::Empty),
            (Some(partial), None) => partial,
            (None, Some(header)) => Partial::begin(header, self.limits)?,
        };
        partial.take(data)?;
        if partial.received < partial.header.n_bytes {
            self.current = Some(partial);
            return Ok(None);
        }
        partial.finish().map(Some)
    }

    /// The header of the tensor begun, so that a receiver can refuse a wrong shape before its payload comes.
    pub fn header(&self) -> Option<&TensorHeader> {
        self.current.as_ref().map(|partial| &partial.header)
    }

    /// Tells whether the stream may end here.
    ///
    /// Errors: [`FrameError::Incomplete`] inside a tensor.
    pub fn finish(&self) -> Result<(), FrameError> {
        match &self.current {
            None => Ok(()),
            Some(partial) => {
                Err(FrameError::Incomplete { received: partial.received, n_bytes: partial.header.n_bytes })
            }
        }
    }
}

/// A tensor of which not every byte has come.
#[derive(Debug)]
struct Partial {
    header: TensorHeader,
    dtype: DType,
    payload: Payload,
    received: u64,
    checksum: crc32fast::Hasher,
}

/// A tensor that came in one frame keeps that frame's buffer; only longer ones are copied together.
#[derive(Debug)]
enum Payload {
    One(Bytes),
    Many(BytesMut),
}

impl Partial {
    fn begin(header: TensorHeader, limits: FrameLimits) -> Result<Self, FrameError> {
        let dtype = check_header(&header, limits.max_bytes)?;
        let payload = Payload::One(Bytes::new());
        Ok(Self { header, dtype, payload, received: 0, checksum: crc32fast::Hasher::new() })
    }

    fn take(&mut self, data: Bytes) -> Result<(), FrameError> {
        let n_bytes = self.header.n_bytes;
        let received = self.received + data.len() as u64;
        if received > n_bytes {
            return Err(FrameError::Surplus { n_bytes });
        }
        self.received = received;
        self.checksum.update(&data);
        match &mut self.payload {
            Payload::One(first) if first.is_empty() => *first = data,
            Payload::One(first) => {
                let mut joined = BytesMut::with_capacity(first.len() + data.len());
                joined.extend_from_slice(first);
                joined.extend_from_slice(&data);
                self.payload = Payload::Many(joined);
            }
            Payload::Many(joined) => joined.extend_from_slice(&data),
        }
        Ok(())
    }

    fn finish(self) -> Result<RawTensor, FrameError> {
        let (declared, computed) = (self.header.crc32, self.checksum.finalize());
        if declared != computed {
            return Err(FrameError::Checksum { declared, computed });
        }
        let data = match self.payload {
            Payload::One(data) => data,
            Payload::Many(joined) => joined.freeze(),
        };
        Ok(RawTensor { dtype: self.dtype, shape: self.header.shape, data })
    }
}

/// Judges a header by itself and against a limit; returns the element type.
fn check_header(header: &TensorHeader, max_bytes: u64) -> Result<DType, FrameError> {
    let dtype = DType::try_from(header.dtype).map_err(|_| FrameError::DType(header.dtype))?;
    let element = element_bytes(dtype)?;
    if header.shape.len() > MAX_AXES {
        return Err(FrameError::Axes(header.shape.len()));
    }
    if let Some(axis) = header.shape.iter().position(|&size| size == 0) {
        return Err(FrameError::ZeroAxis(axis));
    }
    if header.n_bytes > max_bytes {
        return Err(FrameError::TooLarge { n_bytes: header.n_bytes, max_bytes });
    }
    let product = header.shape.iter().try_fold(element, |bytes, &size| bytes.checked_mul(u64::from(size)));
    if product != Some(header.n_bytes) {
        let shape_takes = product.unwrap_or(u64::MAX);
        return Err(FrameError::Length { declared: header.n_bytes, shape_takes });
    }
    Ok(dtype)
}
