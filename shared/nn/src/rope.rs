//! Rotary positions in f32, in the half-split form of Qwen2.

use candle_core::{DType, Device, Result, Tensor};

use crate::kernels::pointwise;
use crate::kernels::tensor::{is_cpu_f32, values};
use crate::{Ops, grad};

/// Frequencies of a rotary embedding.
#[derive(Clone, Debug)]
pub struct Rotary {
    inverse_frequencies: Vec<f32>,
}

/// Cosines and sines of one packed batch, computed once per pass and shared by all layers.
#[derive(Clone, Debug)]
pub struct Angles {
    /// f32 `[T, head_dim / 2]`.
    cos: Tensor,
    /// f32 `[T, head_dim / 2]`.
    sin: Tensor,
}

impl Rotary {
    /// Frequencies θ^(−2i/head_dim) for i in 0..head_dim/2.
    pub fn new(head_dim: usize, theta: f64) -> Self {
        let inverse_frequencies =
            (0..head_dim / 2).map(|i| (1.0 / theta.powf(2.0 * i as f64 / head_dim as f64)) as f32).collect();
        Self { inverse_frequencies }
    }

    /// Angles of rows at these positions. The product is taken in f32, as the published implementation does.
    ///
    /// # Errors
    /// When the device refuses the tensors.
    pub fn angles(&self, positions: &[usize], device: &Device) -> Result<Angles> {
        let half = self.inverse_frequencies.len();
        let angles: Vec<f32> =
            positions.iter().flat_map(|&p| self.inverse_frequencies.iter().map(move |f| p as f32 * f)).collect();
        let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
        let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
        let shape = (positions.len(), half);
        Ok(Angles { cos: Tensor::from_vec(cos, shape, device)?, sin: Tensor::from_vec(sin, shape, device)? })
    }
}

impl Angles {
    /// Rotates every head of packed rows.
    ///
    /// Shapes: `[T, n_heads·head_dim]` → the same, in the dtype of `x`; computed in f32.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn rotate(&self, ops: Ops, x: &Tensor) -> Result<Tensor> {
        let (t, width) = x.dims2()?;
        let (rows, half) = self.cos.dims2()?;
        if t != rows || half == 0 || width == 0 || !width.is_multiple_of(2 * half) {
            candle_core::bail!("angles of {rows} rows and heads of {} got rows {:?}", 2 * half, x.shape());
        }
        if ops == Ops::Inference && is_cpu_f32(x) {
            return self.rotate_fused(x, (width, half));
        }
        if ops == Ops::Training && grad::takes([x]) {
            return grad::pointwise::rotate(x, &self.cos, &self.sin);
        }
        let heads = x.to_dtype(DType::F32)?.reshape((t, width / (2 * half), 2 * half))?;
        let (a, b) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
        let (cos, sin) = (self.cos.unsqueeze(1)?, self.sin.unsqueeze(1)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        Tensor::cat(&[first, second], 2)?.reshape((t, width))?.to_dtype(x.dtype())
    }

    fn rotate_fused(&self, x: &Tensor, sizes: (usize, usize)) -> Result<Tensor> {
        let x = x.contiguous()?;
        let ((cos, cos_layout), (sin, sin_layout)) = (self.cos.storage_and_layout(), self.sin.storage_and_layout());
        let (storage, layout) = x.storage_and_layout();
        let mut out = vec![0.0; x.elem_count()];
        let angles = (values(&cos, cos_layout)?, values(&sin, sin_layout)?);
        pointwise::rotate(values(&storage, layout)?, angles, sizes, &mut out);
        Tensor::from_vec(out, x.shape(), x.device())
    }
}
