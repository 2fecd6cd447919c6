//! LayerNorm, RMSNorm and GroupNorm; statistics in f32 whatever the dtype of the input.

use candle_core::{D, DType, Result, Tensor};

use crate::{Build, Ops};

/// LayerNorm over the last axis, with or without an affine part.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    affine: Option<(Tensor, Tensor)>,
    eps: f64,
    ops: Ops,
}

impl LayerNorm {
    /// Loads `weight` and `bias` `[width]`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, width: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            affine: Some((build.get(width, "weight")?, build.get(width, "bias")?)),
            eps,
            ops: build.ops,
        })
    }

    /// A norm without weights.
    pub fn without_affine(ops: Ops, eps: f64) -> Self {
        Self { affine: None, eps, ops }
    }

    /// Shapes: `[T, width]` → `[T, width]`, in the dtype of `x`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if let (Ops::Inference, Some((weight, bias))) = (self.ops, &self.affine) {
            return candle_nn::ops::layer_norm(&x.contiguous()?, weight, bias, self.eps as f32);
        }
        let normed = normalize(&x.to_dtype(DType::F32)?, self.eps)?.to_dtype(x.dtype())?;
        match &self.affine {
            Some((weight, bias)) => normed.broadcast_mul(weight)?.broadcast_add(bias),
            None => Ok(normed),
        }
    }
}

/// (x − mean) / √(var + ε) over the last axis.
fn normalize(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}

/// RMSNorm over the last axis.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
    ops: Ops,
}

impl RmsNorm {
    /// Loads `weight` `[width]`.
    ///
    /// # Errors
    /// When the tensor is missing or misshapen.
    pub fn load(build: &Build, width: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: build.get(width, "weight")?,
            eps,
            ops: build.ops,
        })
    }

    /// Shapes: `[T, width]` → `[T, width]`, in the dtype of `x`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.ops == Ops::Inference {
            return candle_nn::ops::rms_norm(&x.contiguous()?, &self.weight, self.eps as f32);
        }
        let wide = x.to_dtype(DType::F32)?;
        let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
        wide.broadcast_div(&(mean_square + self.eps)?.sqrt()?)?
            .to_dtype(x.dtype())?
            .broadcast_mul(&self.weight)
    }
}

/// GroupNorm over channels and positions of images.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    n_groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Loads `weight` and `bias` `[n_channels]`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, n_channels: usize, n_groups: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: build.get(n_channels, "weight")?,
            bias: build.get(n_channels, "bias")?,
            n_groups,
            eps,
        })
    }

    /// Shapes: `[B, C, height, width]` → the same, in the dtype of `x`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        let grouped = x
            .to_dtype(DType::F32)?
            .reshape((b, self.n_groups, c / self.n_groups * h * w))?;
        let normed = normalize(&grouped, self.eps)?
            .reshape((b, c, h, w))?
            .to_dtype(x.dtype())?;
        normed
            .broadcast_mul(&self.weight.reshape((1, c, 1, 1))?)?
            .broadcast_add(&self.bias.reshape((1, c, 1, 1))?)
    }
}
