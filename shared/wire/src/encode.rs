//! Tensors to bytes.

use bytemuck::NoUninit;
use bytes::Bytes;
use candle_core::{DType, Tensor, WithDType};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use unipic_api::frames::{FrameError, Frames, RawTensor};
use unipic_api::pb;
use unipic_api::{ApiError, Reason};

/// Why a tensor cannot be sent. Always a fault of the sender.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The wire has no such element type.
    #[error("tensors of {0:?} are not sent")]
    DType(DType),
    /// A value is NaN or infinite.
    #[error("element {index} of {shape:?} is not finite")]
    NonFinite {
        /// The tensor's shape.
        shape: Vec<usize>,
        /// Row-major position of the first such element.
        index: usize,
    },
    /// The shape is beyond what a header can say.
    #[error(transparent)]
    Shape(#[from] FrameError),
    /// The tensor could not be read from its device.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl From<EncodeError> for ApiError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::NonFinite { .. } => Self::Fault(Reason::NonFinite),
            EncodeError::Candle(_) => Self::Fault(Reason::DeviceFault),
            EncodeError::DType(_) | EncodeError::Shape(_) => Self::Fault(Reason::Bug),
        }
    }
}

/// The bytes of a tensor: f32, f16, bf16 or u8, of any strides and on any device.
///
/// Errors: another element type, a value that is not finite, an empty axis or more than 8 axes.
pub fn encode(tensor: &Tensor) -> Result<RawTensor, EncodeError> {
    let (dtype, data) = match tensor.dtype() {
        DType::F32 => (pb::DType::DtypeF32, bytes_of(tensor, |values: &[f32]| non_finite(values))?),
        DType::F16 => {
            (pb::DType::DtypeF16, bytes_of(tensor, |values: &[f16]| values.iter().position(|v| !v.is_finite()))?)
        }
        DType::BF16 => {
            (pb::DType::DtypeBf16, bytes_of(tensor, |values: &[bf16]| values.iter().position(|v| !v.is_finite()))?)
        }
        DType::U8 => (pb::DType::DtypeU8, bytes_of(tensor, |_: &[u8]| None)?),
        other => return Err(EncodeError::DType(other)),
    };
    let shape = tensor.dims().iter().map(|&size| u32::try_from(size).unwrap_or(0)).collect();
    Ok(RawTensor::new(dtype, shape, data)?)
}

/// The frames of a tensor, at the agreed frame size. Errors as [`encode`].
pub fn frames(tensor: &Tensor) -> Result<Frames, EncodeError> {
    encode(tensor).map(RawTensor::into_frames)
}

/// Position of the first value that is not finite.
pub(crate) fn non_finite(values: &[f32]) -> Option<usize> {
    // The whole slice first, without a branch per value, so that the check runs at the speed of memory.
    let is_finite = values.iter().fold(true, |all, value| all & value.is_finite());
    if is_finite { None } else { values.iter().position(|value| !value.is_finite()) }
}

fn bytes_of<T: Element>(tensor: &Tensor, first_bad: impl Fn(&[T]) -> Option<usize>) -> Result<Bytes, EncodeError> {
    let values: Vec<T> = tensor.flatten_all()?.to_vec1()?;
    if let Some(index) = first_bad(&values) {
        return Err(EncodeError::NonFinite { shape: tensor.dims().to_vec(), index });
    }
    Ok(Bytes::from_owner(Owner(values)))
}

/// An element type of the wire.
trait Element: WithDType + Send + Sync + 'static {
    fn bytes(values: &[Self]) -> &[u8];
}

impl Element for f32 {
    fn bytes(values: &[Self]) -> &[u8] {
        plain(values)
    }
}

impl Element for f16 {
    fn bytes(values: &[Self]) -> &[u8] {
        plain(values.reinterpret_cast())
    }
}

impl Element for bf16 {
    fn bytes(values: &[Self]) -> &[u8] {
        plain(values.reinterpret_cast())
    }
}

impl Element for u8 {
    fn bytes(values: &[Self]) -> &[u8] {
        values
    }
}

fn plain<T: NoUninit>(values: &[T]) -> &[u8] {
    bytemuck::cast_slice(values)
}

/// Values that are handed on as bytes without another copy.
struct Owner<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        T::bytes(&self.0)
    }
}
