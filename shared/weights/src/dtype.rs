//! How values are stored in files, and how they become values of a tensor.

use candle_core::{DType, Device, Result, Shape, Tensor};
use half::{bf16, f16};

/// A dtype that tensor files know. Only floating-point ones can be loaded; the others occur among surplus tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoredDtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float, IEEE.
    F16,
    /// 16-bit float, the upper half of an `F32`.
    Bf16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// Truth value, a byte.
    Bool,
}

impl StoredDtype {
    /// The dtype by its safetensors name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "F64" => Self::F64,
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            "I64" => Self::I64,
            "I32" => Self::I32,
            "I16" => Self::I16,
            "I8" => Self::I8,
            "U8" => Self::U8,
            "BOOL" => Self::Bool,
            _ => return None,
        })
    }

    /// Its safetensors name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }

    /// Bytes per value.
    pub fn n_bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether tensors of it can be loaded.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16)
    }
}

/// Whether every value in `bytes`, little-endian and a whole number of values, is finite.
///
/// A float is NaN or infinite exactly where all its exponent bits are set.
pub(crate) fn all_finite(dtype: StoredDtype, bytes: &[u8]) -> bool {
    const F16: u16 = 0x7c00;
    const BF16: u16 = 0x7f80;
    const F32: u32 = 0x7f80_0000;
    const F64: u64 = 0x7ff0_0000_0000_0000;
    match dtype {
        StoredDtype::F16 => !any(values::<2, bool>(bytes, |v| u16::from_le_bytes(v) & F16 == F16)),
        StoredDtype::Bf16 => !any(values::<2, bool>(bytes, |v| u16::from_le_bytes(v) & BF16 == BF16)),
        StoredDtype::F32 => !any(values::<4, bool>(bytes, |v| u32::from_le_bytes(v) & F32 == F32)),
        StoredDtype::F64 => !any(values::<8, bool>(bytes, |v| u64::from_le_bytes(v) & F64 == F64)),
        _ => true,
    }
}

/// Whether any is true. Looks at all of them: without an early exit the loop runs in vector registers.
fn any(flags: impl Iterator<Item = bool>) -> bool {
    flags.fold(false, |any, flag| any | flag)
}

fn values<const N: usize, T>(bytes: &[u8], map: impl Fn([u8; N]) -> T) -> impl Iterator<Item = T> {
    bytes.as_chunks::<N>().0.iter().map(move |chunk| map(*chunk))
}

/// The values of a tensor as they come in, already in the dtype that they are wanted in, so that a tensor is never held
/// in both.
pub(crate) enum Collected {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Collected {
    /// Room for `n_values` of `dtype`.
    pub(crate) fn with_capacity(dtype: DType, n_values: usize) -> Result<Self> {
        Ok(match dtype {
            DType::F32 => Self::F32(Vec::with_capacity(n_values)),
            DType::F16 => Self::F16(Vec::with_capacity(n_values)),
            DType::BF16 => Self::Bf16(Vec::with_capacity(n_values)),
            other => candle_core::bail!("weights load as f32, f16 or bf16, not as {other:?}"),
        })
    }

    /// Appends values stored as `stored`, a whole number of them.
    pub(crate) fn push(&mut self, stored: StoredDtype, bytes: &[u8]) {
        match self {
            Self::F32(out) => match stored {
                StoredDtype::F32 => out.extend(values::<4, f32>(bytes, f32::from_le_bytes)),
                StoredDtype::F16 => out.extend(values::<2, f32>(bytes, |v| f16::from_le_bytes(v).to_f32())),
                StoredDtype::Bf16 => out.extend(values::<2, f32>(bytes, |v| bf16::from_le_bytes(v).to_f32())),
                _ => out.extend(values::<8, f32>(bytes, |v| f64::from_le_bytes(v) as f32)),
            },
            Self::F16(out) => match stored {
                StoredDtype::F32 => out.extend(values::<4, f16>(bytes, |v| f16::from_f32(f32::from_le_bytes(v)))),
                StoredDtype::F16 => out.extend(values::<2, f16>(bytes, f16::from_le_bytes)),
                StoredDtype::Bf16 => {
                    out.extend(values::<2, f16>(bytes, |v| f16::from_f32(bf16::from_le_bytes(v).to_f32())));
                }
                _ => out.extend(values::<8, f16>(bytes, |v| f16::from_f64(f64::from_le_bytes(v)))),
            },
            Self::Bf16(out) => match stored {
                StoredDtype::F32 => out.extend(values::<4, bf16>(bytes, |v| bf16::from_f32(f32::from_le_bytes(v)))),
                StoredDtype::F16 => {
                    out.extend(values::<2, bf16>(bytes, |v| bf16::from_f32(f16::from_le_bytes(v).to_f32())));
                }
                StoredDtype::Bf16 => out.extend(values::<2, bf16>(bytes, bf16::from_le_bytes)),
                _ => out.extend(values::<8, bf16>(bytes, |v| bf16::from_f64(f64::from_le_bytes(v)))),
            },
        }
    }

    /// The values in `bytes`, stored as `from`, as bytes of the dtype `to`.
    ///
    /// # Errors
    /// When `to` is no dtype that weights can have.
    pub(crate) fn converted(from: StoredDtype, bytes: &[u8], to: StoredDtype) -> std::io::Result<Vec<u8>> {
        let dtype = match to {
            StoredDtype::F32 => DType::F32,
            StoredDtype::F16 => DType::F16,
            StoredDtype::Bf16 => DType::BF16,
            other => {
                return Err(std::io::Error::other(format!("weights are not written as {}", other.name())));
            }
        };
        let n_values = bytes.len() / from.n_bytes();
        let mut values = Self::with_capacity(dtype, n_values).map_err(std::io::Error::other)?;
        values.push(from, bytes);
        Ok(match values {
            Self::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::Bf16(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })
    }

    /// Whether all values are finite: a wider stored value may have overflowed.
    pub(crate) fn is_finite(&self) -> bool {
        match self {
            Self::F32(values) => !any(values.iter().map(|v| !v.is_finite())),
            Self::F16(values) => !any(values.iter().map(|v| !v.is_finite())),
            Self::Bf16(values) => !any(values.iter().map(|v| !v.is_finite())),
        }
    }

    /// The tensor of these values.
    pub(crate) fn into_tensor(self, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
        match self {
            Self::F32(values) => Tensor::from_vec(values, shape.into(), device),
            Self::F16(values) => Tensor::from_vec(values, shape.into(), device),
            Self::Bf16(values) => Tensor::from_vec(values, shape.into(), device),
        }
    }
}
