//! Bytes to tensors.

use bytemuck::Pod;
use candle_core::{Device, Tensor};
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};
use unipic_api::frames::{FrameError, RawTensor};
use unipic_api::pb;
use unipic_api::{ApiError, FieldViolation, Reason};

use crate::encode::non_finite;

/// Why bytes are not taken as a tensor.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The frames are wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A value is NaN or infinite.
    #[error("element {index} is not finite")]
    NonFinite {
        /// Row-major position of the first such element.
        index: usize,
    },
    /// The tensor is not of the shape or type that is wanted here.
    #[error("{got} came where {wanted} is wanted")]
    Unexpected {
        /// What came.
        got: String,
        /// What is wanted, with named axes.
        wanted: String,
    },
    /// The tensor could not be brought to its device.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl DecodeError {
    /// INVALID_ARGUMENT naming the frame field at `path`; a device's failure is a fault of ours.
    pub fn at(&self, path: &str) -> ApiError {
        match self {
            Self::Frame(error) => error.at(path),
            Self::Candle(_) => ApiError::Fault(Reason::DeviceFault),
            Self::NonFinite { .. } => violation(path, "data", self),
            Self::Unexpected { .. } => violation(path, "header", self),
        }
    }
}

fn violation(path: &str, field: &str, error: &DecodeError) -> ApiError {
    ApiError::Invalid(vec![FieldViolation::new(format!("{path}.{field}"), error.to_string())])
}

/// The tensor that came, on `device`.
///
/// Shapes: the header's. Precision: the element type that came, bit for bit.
///
/// Errors: a value that is not finite; the device has no room.
pub fn decode(raw: &RawTensor, device: &Device) -> Result<Tensor, DecodeError> {
    let shape: Vec<usize> = raw.shape.iter().map(|&size| size as usize).collect();
    let tensor = match raw.dtype {
        pb::DType::DtypeF32 => {
            let values: Vec<f32> = plain(&raw.data);
            finite(non_finite(&values))?;
            Tensor::from_vec(values, shape, device)?
        }
        pb::DType::DtypeF16 => {
            let values: Vec<f16> = plain::<u16>(&raw.data).reinterpret_into();
            finite(values.iter().position(|value| !value.is_finite()))?;
            Tensor::from_vec(values, shape, device)?
        }
        pb::DType::DtypeBf16 => {
            let values: Vec<bf16> = plain::<u16>(&raw.data).reinterpret_into();
            finite(values.iter().position(|value| !value.is_finite()))?;
            Tensor::from_vec(values, shape, device)?
        }
        pb::DType::DtypeU8 => Tensor::from_slice(&raw.data, shape, device)?,
        pb::DType::DtypeUnspecified => return Err(FrameError::DType(raw.dtype as i32).into()),
    };
    Ok(tensor)
}

/// Values from bytes that may lie at any address.
fn plain<T: Pod>(data: &[u8]) -> Vec<T> {
    let mut values = vec![T::zeroed(); data.len() / size_of::<T>()];
    bytemuck::cast_slice_mut(&mut values).copy_from_slice(data);
    values
}

fn finite(first_bad: Option<usize>) -> Result<(), DecodeError> {
    match first_bad {
        None => Ok(()),
        Some(index) => Err(DecodeError::NonFinite { index }),
    }
}

/// Checks element type and shape before anything is decoded; `None` in `shape` stands for any size.
///
/// `wanted` is for people, with named axes: `"u8 [height, width, 3]"`.
///
/// Errors: [`DecodeError::Unexpected`].
pub fn expect_shape(
    raw: &RawTensor,
    dtype: pb::DType,
    shape: &[Option<usize>],
    wanted: &str,
) -> Result<(), DecodeError> {
    let fits = |(&got, want): (&u32, &Option<usize>)| want.is_none_or(|want| want == got as usize);
    let is_right = raw.dtype == dtype && raw.shape.len() == shape.len() && raw.shape.iter().zip(shape).all(fits);
    if is_right {
        return Ok(());
    }
    let dtype = raw.dtype.as_str_name().trim_start_matches("DTYPE_").to_ascii_lowercase();
    Err(DecodeError::Unexpected { got: format!("{dtype} {:?}", raw.shape), wanted: wanted.to_owned() })
}
