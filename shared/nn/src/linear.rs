//! Linear layers, dense or quantized.

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Module, Result, Tensor};

use crate::{Build, LinearFormat};

/// `x·Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

#[derive(Clone, Debug)]
enum Weight {
    Dense(Tensor),
    Quantized(QMatMul),
}

impl Linear {
    /// Loads `weight` `[n_out, n_in]` and `bias` `[n_out]` at this place of the checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, n_in: usize, n_out: usize) -> Result<Self> {
        Self::from_weight(build, build.get((n_out, n_in), "weight")?, Some(build.get(n_out, "bias")?))
    }

    /// Loads `weight` `[n_out, n_in]` alone.
    ///
    /// # Errors
    /// When the tensor is missing or misshapen.
    pub fn load_without_bias(build: &Build, n_in: usize, n_out: usize) -> Result<Self> {
        Self::from_weight(build, build.get((n_out, n_in), "weight")?, None)
    }

    /// A layer over tensors at hand, held in the builder's linear format.
    ///
    /// Shapes: `weight` `[n_out, n_in]`, `bias` `[n_out]`.
    ///
    /// # Errors
    /// When quantization fails.
    pub fn from_weight(build: &Build, weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (_, n_in) = weight.dims2()?;
        let weight = match build.linear_format {
            LinearFormat::Q8_0 if n_in.is_multiple_of(32) => {
                Weight::Quantized(QMatMul::from_qtensor(QTensor::quantize(&weight, GgmlDType::Q8_0)?)?)
            }
            _ => Weight::Dense(weight),
        };
        Ok(Self { weight, bias })
    }

    /// Applies the layer.
    ///
    /// Shapes: `[T, n_in]` → `[T, n_out]`, in the dtype of `x`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.weight {
            Weight::Dense(weight) => matmul_rows(x, &weight.t()?)?,
            Weight::Quantized(weight) => weight.forward(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype())?,
        };
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// `x·w`, where the result of a row does not depend on the number of rows.
///
/// candle's CPU product takes a matrix-vector kernel, with another order of summation, for a single row; two equal rows
/// keep it on the kernel that every other row count takes.
///
/// Shapes: `[T, n_in]`, `[n_in, n_out]` → `[T, n_out]`.
pub fn matmul_rows(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if x.dim(0)? == 1 && x.device().is_cpu() {
        Tensor::cat(&[x, x], 0)?.matmul(w)?.narrow(0, 0, 1)
    } else {
        x.matmul(w)
    }
}
