//! 2-D convolution, alone and with the norm, swish, upsampling and residual that stand around it in the autoencoder.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

use crate::grad::conv::ConvOp;
use crate::kernels::conv::Conv;
use crate::kernels::tensor::{is_cpu_f32, values};
use crate::{Build, GroupNorm, Ops, activation, grad};

/// A convolution over `[B, C, height, width]`, zero-padded alike on all sides.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    padding: usize,
    ops: Ops,
}

/// What comes before a convolution.
#[derive(Clone, Copy)]
struct Before<'a> {
    norm: Option<&'a GroupNorm>,
    upsample: usize,
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
        let weight = build.get((n_out, n_in, kernel, kernel), "weight")?.contiguous()?;
        let bias = build.get(n_out, "bias")?.contiguous()?;
        Ok(Self { weight, bias, stride, padding, ops: build.ops })
    }

    /// Shapes: `[B, n_in, h, w]` → `[B, n_out, h', w']`, h' = (h + 2·padding − kernel) / stride + 1.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.is_fused(x) {
            return self.fused(x, Before { norm: None, upsample: 1 });
        }
        if self.is_training(x) {
            return self.node(1, None).apply(x, (&self.weight, &self.bias), None);
        }
        let y = x.conv2d(&self.weight, self.padding, self.stride, 1, 1)?;
        y.broadcast_add(&self.bias.reshape((1, (), 1, 1))?)
    }

    /// conv(upsample(x)), nearest and twofold; on CPU for inference the wide image never stands in memory.
    ///
    /// Shapes: `[B, n_in, h, w]` → `[B, n_out, h', w']`, sizes as of `forward` over `[B, n_in, 2h, 2w]`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward_upsampled(&self, x: &Tensor) -> Result<Tensor> {
        if self.is_fused(x) {
            return self.fused(x, Before { norm: None, upsample: 2 });
        }
        if self.is_training(x) {
            return self.node(2, None).apply(x, (&self.weight, &self.bias), None);
        }
        let (_, _, h, w) = x.dims4()?;
        self.forward(&x.upsample_nearest2d(2 * h, 2 * w)?)
    }

    /// conv(swish(norm(x))); on CPU for inference neither the normed nor the activated image stands in memory.
    ///
    /// Shapes: as of `forward`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward_normed(&self, x: &Tensor, norm: &GroupNorm) -> Result<Tensor> {
        if self.is_fused(x) {
            return self.fused(x, Before { norm: Some(norm), upsample: 1 });
        }
        if self.is_training(x) {
            let (weight, bias, n_groups, eps) = norm.parameters();
            let node = self.node(1, Some((n_groups, eps)));
            return node.apply(x, (&self.weight, &self.bias), Some((weight, bias)));
        }
        self.forward(&activation::silu(&norm.forward(x)?)?)
    }

    /// residual + conv(swish(norm(x))); on CPU for inference the sum is written over the residual, in its own memory.
    ///
    /// The residual must not be seen by anyone else afterwards: clones and views of it share that memory.
    ///
    /// Shapes: `x` as of `forward`, `residual` `[B, n_out, h', w']`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit, or when both are one tensor.
    pub fn forward_normed_onto(&self, x: &Tensor, norm: &GroupNorm, residual: Tensor) -> Result<Tensor> {
        if !(self.is_fused(x) && is_cpu_f32(&residual) && residual.is_contiguous()) {
            return residual + self.forward_normed(x, norm)?;
        }
        let x = x.contiguous()?;
        let (storage, layout) = x.storage_and_layout();
        if std::ptr::eq(&*storage, &*residual.storage_and_layout().0) {
            candle_core::bail!("a convolution cannot be added onto its own input");
        }
        let before = Before { norm: Some(norm), upsample: 1 };
        let onto = Onto { conv: self, x: (values(&storage, layout)?, layout.shape().dims4()?), before };
        residual.inplace_op1(&onto)?;
        Ok(residual)
    }

    fn is_training(&self, x: &Tensor) -> bool {
        self.ops == Ops::Training && grad::takes([x, &self.weight])
    }

    /// This convolution as a node of a graph.
    fn node(&self, upsample: usize, norm: Option<(usize, f32)>) -> ConvOp {
        let kernel = self.weight.dims()[2];
        ConvOp { upsample, kernel, stride: self.stride, padding: self.padding, norm }
    }

    fn is_fused(&self, x: &Tensor) -> bool {
        self.ops == Ops::Inference && is_cpu_f32(x) && is_cpu_f32(&self.weight)
    }

    fn fused(&self, x: &Tensor, before: Before<'_>) -> Result<Tensor> {
        let size = x.dims4()?;
        let x = x.contiguous()?;
        let (storage, layout) = x.storage_and_layout();
        let (rows, columns) = self.output(size, before)?;
        let mut out = vec![0.0; size.0 * self.bias.elem_count() * rows * columns];
        self.run(values(&storage, layout)?, size, before, (&mut out, false))?;
        Tensor::from_vec(out, (size.0, self.bias.elem_count(), rows, columns), x.device())
    }

    /// Height and width of the output for an input `[B, n_in, h, w]`.
    fn output(&self, size: (usize, usize, usize, usize), before: Before<'_>) -> Result<(usize, usize)> {
        let ((_, n_in, height, width), (_, expected, kernel, _)) = (size, self.weight.dims4()?);
        let sides = (height * before.upsample + 2 * self.padding, width * before.upsample + 2 * self.padding);
        if n_in != expected || sides.0 < kernel || sides.1 < kernel {
            candle_core::bail!("a convolution with weight {:?} got an input {size:?}", self.weight.shape());
        }
        Ok(((sides.0 - kernel) / self.stride + 1, (sides.1 - kernel) / self.stride + 1))
    }

    /// Image by image: `x` `[B, n_in, h, w]` into `out` `[B, n_out, h', w']`, added to what stands there where `add`.
    fn run(
        &self,
        x: &[f32],
        size: (usize, usize, usize, usize),
        before: Before<'_>,
        (out, add): (&mut [f32], bool),
    ) -> Result<()> {
        let (rows, columns) = self.output(size, before)?;
        let (n_images, n_in, height, width) = size;
        let (n_image, n_output) = (n_in * height * width, self.bias.elem_count() * rows * columns);
        if out.len() != n_images * n_output {
            candle_core::bail!("a convolution of {size:?} does not give {} values", out.len());
        }
        let ((weight, weight_layout), (bias, bias_layout)) =
            (self.weight.storage_and_layout(), self.bias.storage_and_layout());
        for image in 0..n_images {
            let x = &x[image * n_image..][..n_image];
            let norm = before.norm.map(|norm| norm.scales(x)).transpose()?;
            let conv = Conv {
                x,
                size: (n_in, height, width),
                norm: norm.as_deref(),
                upsample: before.upsample,
                weight: values(&weight, weight_layout)?,
                bias: values(&bias, bias_layout)?,
                kernel: self.weight.dim(2)?,
                stride: self.stride,
                padding: self.padding,
                add,
            };
            conv.run(&mut out[image * n_output..][..n_output]);
        }
        Ok(())
    }
}

/// A convolution added onto the tensor it is applied to.
struct Onto<'a> {
    conv: &'a Conv2d,
    x: (&'a [f32], (usize, usize, usize, usize)),
    before: Before<'a>,
}

impl InplaceOp1 for Onto<'_> {
    fn name(&self) -> &'static str {
        "convolution-onto"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(residual), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("a convolution is added onto contiguous f32 tensors only")
        };
        let (rows, columns) = self.conv.output(self.x.1, self.before)?;
        if layout.shape().dims() != [self.x.1.0, self.conv.bias.elem_count(), rows, columns] {
            candle_core::bail!("a convolution of {:?} does not fit onto {:?}", self.x.1, layout.shape());
        }
        self.conv.run(self.x.0, self.x.1, self.before, (&mut residual[start..end], true))
    }
}
