//! 2-D convolution.

use candle_core::{Result, Tensor};

use crate::{Build, Ops};

/// A convolution over `[B, C, height, width]`, zero-padded alike on all sides.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    padding: usize,
    ops: Ops,
}

impl Conv2d {
    /// Loads `weight` `[n_out, n_in, kernel, kernel]` and `bias` `[n_out]`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        build: &Build,
        n_in: usize,
        n_out: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let weight = build.get((n_out, n_in, kernel, kernel), "weight")?;
        Ok(Self {
            weight,
            bias: build.get(n_out, "bias")?,
            stride,
            padding,
            ops: build.ops,
        })
    }

    /// Shapes: `[B, n_in, h, w]` → `[B, n_out, h', w']`, h' = (h + 2·padding − kernel) / stride + 1.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let _ = self.ops;
        let y = x.conv2d(&self.weight, self.padding, self.stride, 1, 1)?;
        y.broadcast_add(&self.bias.reshape((1, (), 1, 1))?)
    }
}
