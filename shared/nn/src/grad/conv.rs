//! Convolution as one node, with the norm, swish and upsampling before it.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::slice;
use crate::kernels::backward::conv::{Geometry, turned};
use crate::kernels::backward::norm::group_norm;
use crate::kernels::backward::pointwise::silu_slope;
use crate::kernels::conv::Conv;
use crate::kernels::lanes::Lanes;
use crate::kernels::norm::group_scales;
use crate::kernels::pointwise::silu;
use crate::kernels::tensor::values;
use crate::kernels::{Kernel, dispatch};

/// A convolution: conv(upsample(x)) or conv(swish(norm(x))).
///
/// An operation of candle has three arguments at most, so weight and bias come as one matrix
/// `[n_out, n_in·kernel² + 1]` and the norm's as one of `[2, n_in]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvOp {
    /// Nearest upsampling by this factor before the convolution.
    pub(crate) upsample: usize,
    /// Side of the kernel.
    pub(crate) kernel: usize,
    /// Steps between outputs.
    pub(crate) stride: usize,
    /// Zeros on all sides.
    pub(crate) padding: usize,
    /// Groups and ε of the norm, where there is one.
    pub(crate) norm: Option<(usize, f32)>,
}

impl ConvOp {
    /// Shapes: `x` `[B, n_in, h, w]`, `weight` `[n_out, n_in, k, k]`, `bias` `[n_out]`, the norm's weight and bias
    /// `[n_in]` → `[B, n_out, h', w']`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(crate) fn apply(
        self,
        x: &Tensor,
        (weight, bias): (&Tensor, &Tensor),
        norm: Option<(&Tensor, &Tensor)>,
    ) -> Result<Tensor> {
        let ((_, n_in, height, width), (n_out, expected, ..)) = (x.dims4()?, weight.dims4()?);
        let least = self.kernel.saturating_sub(2 * self.padding);
        if n_in != expected || height * self.upsample < least || width * self.upsample < least {
            candle_core::bail!("a convolution with weight {:?} got an input {:?}", weight.shape(), x.shape());
        }
        let filters = Tensor::cat(&[&weight.reshape((n_out, ()))?, &bias.reshape((n_out, 1))?], 1)?;
        match norm {
            Some((weight, bias)) => {
                x.contiguous()?.apply_op3(&Tensor::stack(&[weight, bias], 0)?.contiguous()?, &filters, self)
            }
            None => x.contiguous()?.apply_op2(&filters, self),
        }
    }

    fn geometry(&self, dims: &[usize], n_out: usize) -> Geometry {
        let (n_in, height, width) = (dims[1], dims[2] * self.upsample, dims[3] * self.upsample);
        let side = |n: usize| (n + 2 * self.padding - self.kernel) / self.stride + 1;
        Geometry {
            input: (n_in, height, width),
            output: (n_out, side(height), side(width)),
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
        }
    }

    fn forward(
        &self,
        x: &[f32],
        dims: &[usize],
        affine: Option<&[f32]>,
        filters: &[f32],
        n_out: usize,
    ) -> (CpuStorage, Shape) {
        let geometry = self.geometry(dims, n_out);
        let (weight, bias) = unpacked(filters, n_out);
        let (n_image, (_, rows, columns)) = (dims[1..].iter().product::<usize>(), geometry.output);
        let mut out = vec![0.0; dims[0] * n_out * rows * columns];
        for (x, out) in x.chunks_exact(n_image).zip(out.chunks_exact_mut(n_out * rows * columns)) {
            let scales = self.scales(x, affine);
            let conv = Conv {
                x,
                size: (dims[1], dims[2], dims[3]),
                norm: scales.as_deref(),
                upsample: self.upsample,
                weight: &weight,
                bias: &bias,
                kernel: self.kernel,
                stride: self.stride,
                padding: self.padding,
                add: false,
            };
            conv.run(out);
        }
        (CpuStorage::F32(out), Shape::from((dims[0], n_out, rows, columns)))
    }

    /// Per channel of an image, what the norm multiplies by and adds.
    fn scales(&self, x: &[f32], affine: Option<&[f32]>) -> Option<Vec<(f32, f32)>> {
        let ((n_groups, eps), affine) = (self.norm?, affine?);
        let (weight, bias) = affine.split_at(affine.len() / 2);
        Some(group_scales(x, weight, bias, n_groups, eps))
    }

    /// Gradients of x, of the norm's parameters and of the filters.
    fn backward(&self, x: &Tensor, affine: Option<&Tensor>, filters: &Tensor, grad: &Tensor) -> Result<[Tensor; 3]> {
        let (dims, n_out) = (x.dims().to_vec(), filters.dim(0)?);
        let geometry = self.geometry(&dims, n_out);
        let (x, grad) = (x.detach(), grad.contiguous()?);
        let affine = affine.map(Tensor::storage_and_layout);
        let affine = affine.as_ref().map(|(storage, layout)| values(storage, layout)).transpose()?;
        let ((x, lx), (filter, lf), (grad, lg)) =
            (x.storage_and_layout(), filters.storage_and_layout(), grad.storage_and_layout());
        let (x, grad) = (values(&x, lx)?, values(&grad, lg)?);
        let (weight, _) = unpacked(values(&filter, lf)?, n_out);
        let (n_in, area) = (dims[1], self.kernel * self.kernel);
        let turned = turned(&weight, (n_in, n_out, area));
        let mut of_x = vec![0.0; x.len()];
        let mut of_affine = vec![0.0; 2 * n_in];
        let mut of_weight = vec![0.0; weight.len()];
        let (n_image, n_output) = (x.len() / dims[0], grad.len() / dims[0]);
        let images = x.chunks_exact(n_image).zip(grad.chunks_exact(n_output)).zip(of_x.chunks_exact_mut(n_image));
        for ((x, grad), of_x) in images {
            let scales = self.scales(x, affine);
            let seen = self.seen(x, &dims, scales.as_deref());
            geometry.weight_gradient(&seen, grad, &mut of_weight);
            if self.upsample == 1 {
                geometry.input_gradient(&turned, grad, of_x);
            } else {
                let mut wide = vec![0.0; geometry.input.0 * geometry.input.1 * geometry.input.2];
                geometry.input_gradient(&turned, grad, &mut wide);
                fold(&wide, (dims[2], dims[3]), self.upsample, of_x);
            }
            if let (Some(scales), Some(affine), Some((n_groups, eps))) = (&scales, affine, self.norm) {
                slopes(x, scales, of_x);
                let (weight, bias) = group_norm(x, of_x, &affine[..n_in], n_groups, eps);
                of_affine.iter_mut().zip(weight.iter().chain(&bias)).for_each(|(sum, value)| *sum += value);
            }
        }
        let of_filters = packed(&of_weight, grad, (n_in, n_out, area), n_output / n_out);
        let device = filters.device();
        Ok([
            Tensor::from_vec(of_x, dims, device)?,
            Tensor::from_vec(of_affine, (2, n_in), device)?,
            Tensor::from_vec(of_filters, (n_out, n_in * area + 1), device)?,
        ])
    }

    /// What the convolution sees of an image `[n_in, h, w]`: normed and activated, or upsampled.
    fn seen(&self, x: &[f32], dims: &[usize], scales: Option<&[(f32, f32)]>) -> Vec<f32> {
        let (height, width, n) = (dims[2], dims[3], self.upsample);
        let mut out = vec![0.0; x.len() * n * n];
        let channels = out.par_chunks_mut(height * width * n * n).zip(x.par_chunks(height * width)).enumerate();
        channels.for_each(|(channel, (out, x))| match scales {
            Some(scales) => dispatch(Activate { x, scale: scales[channel], out }),
            None if n == 1 => out.copy_from_slice(x),
            None => {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = x[i / (width * n) / n * width + i % (width * n) / n];
                }
            }
        });
        out
    }
}

/// Weight `[n_out, n_in·k²]` and bias `[n_out]` of packed filters.
fn unpacked(filters: &[f32], n_out: usize) -> (Vec<f32>, Vec<f32>) {
    let columns = filters.len() / n_out - 1;
    let rows = filters.chunks_exact(columns + 1);
    (rows.clone().flat_map(|row| &row[..columns]).copied().collect(), rows.map(|row| row[columns]).collect())
}

/// Packed filters' gradient, from that of the weights `[k², n_in, n_out]` and of the result.
fn packed(of_weight: &[f32], grad: &[f32], (n_in, n_out, area): (usize, usize, usize), positions: usize) -> Vec<f32> {
    let columns = n_in * area + 1;
    let mut out = vec![0.0; n_out * columns];
    out.par_chunks_mut(columns).enumerate().for_each(|(o, row)| {
        for i in 0..n_in {
            for k in 0..area {
                row[i * area + k] = of_weight[(k * n_in + i) * n_out + o];
            }
        }
        let planes = grad.chunks_exact(positions).skip(o).step_by(n_out);
        row[columns - 1] = planes.map(|plane| crate::kernels::norm::sum(plane, |x| x)).sum();
    });
    out
}

/// Sums of squares of `n` × `n` values.
fn fold(wide: &[f32], (height, width): (usize, usize), n: usize, out: &mut [f32]) {
    out.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
        let (channel, y) = (row / height, row % height);
        for dy in 0..n {
            let from = &wide[((channel * height + y) * n + dy) * width * n..][..width * n];
            for (out, from) in out.iter_mut().zip(from.chunks_exact(n)) {
                *out += from.iter().sum::<f32>();
            }
        }
    });
}

struct Activate<'a> {
    x: &'a [f32],
    scale: (f32, f32),
    out: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (a, b) = self.scale;
        self.out.iter_mut().zip(self.x).for_each(|(out, &x)| *out = silu::<L>(L::fused(x, a, b)));
    }
}

/// The gradient behind swish, of an image `[n_in, positions]`: times the slope at a·x + b.
fn slopes(x: &[f32], scales: &[(f32, f32)], grad: &mut [f32]) {
    let positions = x.len() / scales.len();
    grad.par_chunks_mut(positions).zip(x.par_chunks(positions)).zip(scales).for_each(|((out, x), &scale)| {
        dispatch(Slope { x, scale, out });
    });
}

struct Slope<'a> {
    x: &'a [f32],
    scale: (f32, f32),
    out: &'a mut [f32],
}

impl Kernel for Slope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (a, b) = self.scale;
        self.out.iter_mut().zip(self.x).for_each(|(out, &x)| *out *= silu_slope::<L>(L::fused(x, a, b)));
    }
}

impl CustomOp2 for ConvOp {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, f: &CpuStorage, lf: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(slice(x, lx)?, lx.dims(), None, slice(f, lf)?, lf.dims()[0]))
    }

    fn bwd(&self, x: &Tensor, f: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, _, f] = self.backward(x, None, f, grad)?;
        Ok((Some(x), Some(f)))
    }
}

impl CustomOp3 for ConvOp {
    fn name(&self) -> &'static str {
        "normed-conv"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        a: &CpuStorage,
        la: &Layout,
        f: &CpuStorage,
        lf: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(slice(x, lx)?, lx.dims(), Some(slice(a, la)?), slice(f, lf)?, lf.dims()[0]))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        f: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, a, f] = self.backward(x, Some(a), f, grad)?;
        Ok((Some(x), Some(a), Some(f)))
    }
}
