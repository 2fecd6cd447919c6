//! LayerNorm, RMSNorm and GroupNorm; statistics in f32 whatever the dtype of the input.

use candle_core::{D, DType, Result, Tensor};

use crate::kernels::norm::RowNorm;
use crate::kernels::tensor::{is_cpu_f32, values};
use crate::{Build, Ops, grad, kernels};

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
        Ok(Self { affine: Some((build.get(width, "weight")?, build.get(width, "bias")?)), eps, ops: build.ops })
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
        if self.ops == Ops::Inference {
            let (weight, bias) = self.affine.as_ref().map(|(weight, bias)| (weight, bias)).unzip();
            if is_cpu_f32(x) && weight.is_none_or(is_cpu_f32) && bias.is_none_or(is_cpu_f32) {
                return norm_rows(x, true, self.eps, weight, bias);
            }
            if let (Some(weight), Some(bias)) = (weight, bias) {
                return candle_nn::ops::layer_norm(&x.contiguous()?, weight, bias, self.eps as f32);
            }
        }
        if self.ops == Ops::Training && grad::takes([x]) {
            let (weight, bias) = self.affine.as_ref().map(|(weight, bias)| (weight, bias)).unzip();
            return grad::norm::norm(x, true, self.eps, weight, bias);
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

/// LayerNorm (`centred`) or RMSNorm of f32 rows on the CPU, in one pass over memory.
fn norm_rows(x: &Tensor, centred: bool, eps: f64, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    for affine in weight.iter().chain(&bias) {
        if affine.dims() != [width] {
            candle_core::bail!("a norm over {width} values got weights {:?}", affine.shape());
        }
    }
    let x = x.contiguous()?;
    let weight = weight.map(Tensor::storage_and_layout);
    let bias = bias.map(Tensor::storage_and_layout);
    let (storage, layout) = x.storage_and_layout();
    let norm = RowNorm {
        centred,
        eps: eps as f32,
        weight: weight.as_ref().map(|(storage, layout)| values(storage, layout)).transpose()?,
        bias: bias.as_ref().map(|(storage, layout)| values(storage, layout)).transpose()?,
    };
    let mut out = vec![0.0; x.elem_count()];
    norm.run(values(&storage, layout)?, width, &mut out);
    Tensor::from_vec(out, x.shape(), x.device())
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
        Ok(Self { weight: build.get(width, "weight")?, eps, ops: build.ops })
    }

    /// Shapes: `[T, width]` → `[T, width]`, in the dtype of `x`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.ops == Ops::Inference {
            if is_cpu_f32(x) && is_cpu_f32(&self.weight) {
                return norm_rows(x, false, self.eps, Some(&self.weight), None);
            }
            return candle_nn::ops::rms_norm(&x.contiguous()?, &self.weight, self.eps as f32);
        }
        if self.ops == Ops::Training && grad::takes([x, &self.weight]) {
            return grad::norm::norm(x, false, self.eps, Some(&self.weight), None);
        }
        let wide = x.to_dtype(DType::F32)?;
        let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
        wide.broadcast_div(&(mean_square + self.eps)?.sqrt()?)?.to_dtype(x.dtype())?.broadcast_mul(&self.weight)
    }
}

/// GroupNorm over channels and positions of images.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    n_groups: usize,
    eps: f64,
    ops: Ops,
}

impl GroupNorm {
    /// Loads `weight` and `bias` `[n_channels]`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, n_channels: usize, n_groups: usize, eps: f64) -> Result<Self> {
        if n_groups == 0 || !n_channels.is_multiple_of(n_groups) {
            candle_core::bail!("{n_channels} channels do not divide into {n_groups} groups");
        }
        let (weight, bias) = (build.get(n_channels, "weight")?, build.get(n_channels, "bias")?);
        Ok(Self { weight, bias, n_groups, eps, ops: build.ops })
    }

    /// Shapes: `[B, C, height, width]` → the same, in the dtype of `x`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        if self.ops == Ops::Inference && is_cpu_f32(x) && is_cpu_f32(&self.weight) {
            return self.fused(x);
        }
        let grouped = x.to_dtype(DType::F32)?.reshape((b, self.n_groups, c / self.n_groups * h * w))?;
        let normed = normalize(&grouped, self.eps)?.reshape((b, c, h, w))?.to_dtype(x.dtype())?;
        normed.broadcast_mul(&self.weight.reshape((1, c, 1, 1))?)?.broadcast_add(&self.bias.reshape((1, c, 1, 1))?)
    }

    fn fused(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        let (storage, layout) = x.storage_and_layout();
        let x_values = values(&storage, layout)?;
        let n_image = x.elem_count() / x.dim(0)?.max(1);
        let mut out = vec![0.0; x.elem_count()];
        for (x, out) in x_values.chunks(n_image.max(1)).zip(out.chunks_mut(n_image.max(1))) {
            kernels::norm::scale_channels(x, &self.scales(x)?, out);
        }
        Tensor::from_vec(out, x.shape(), x.device())
    }

    /// Weight, bias, groups and ε, for an operation that has this norm inside.
    pub(crate) fn parameters(&self) -> (&Tensor, &Tensor, usize, f32) {
        (&self.weight, &self.bias, self.n_groups, self.eps as f32)
    }

    /// Per channel of one image `[C, height·width]`, a and b such that the normed value is a·x + b.
    pub(crate) fn scales(&self, x: &[f32]) -> Result<Vec<(f32, f32)>> {
        let ((weight, weight_layout), (bias, bias_layout)) =
            (self.weight.storage_and_layout(), self.bias.storage_and_layout());
        let (weight, bias) = (values(&weight, weight_layout)?, values(&bias, bias_layout)?);
        if x.is_empty() || !x.len().is_multiple_of(weight.len()) {
            candle_core::bail!("a norm of {} channels got {} values", weight.len(), x.len());
        }
        Ok(kernels::norm::group_scales(x, weight, bias, self.n_groups, self.eps as f32))
    }
}
