//! Convolution, backwards, as matrix products.
//!
//! The gradient of the input is a convolution of the result's gradient with the turned weights, so it takes the forward
//! kernel. The gradient of the weights is, for every offset of the kernel, a product of shifted input rows with the
//! result's gradient: image row by image row, so that nothing is spread in memory.

use rayon::prelude::*;

use crate::kernels::aligned::Aligned;
use crate::kernels::conv::Conv;
use crate::kernels::lanes::Lanes;
use crate::kernels::panel::{Panels, padded, position, product};
use crate::kernels::tensor::Shared;
use crate::kernels::{Kernel, dispatch};

/// Input channels of a task.
const CHANNELS: usize = 16;

/// How a convolution steps over its input.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    /// Channels, height and width of the input, upsampled.
    pub(crate) input: (usize, usize, usize),
    /// Channels, height and width of the result.
    pub(crate) output: (usize, usize, usize),
    /// Side of the kernel.
    pub(crate) kernel: usize,
    /// Steps between outputs.
    pub(crate) stride: usize,
    /// Zeros on all sides.
    pub(crate) padding: usize,
}

impl Geometry {
    fn area(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Values of a row of one phase of the padded input.
    fn phase_width(&self) -> usize {
        (self.input.2 + 2 * self.padding).div_ceil(self.stride)
    }

    /// Adds the gradient of the weights for one image to `out` `[kernel², n_in, n_out]`.
    ///
    /// Shapes: `x` `[n_in, h, w]`, `grad` `[n_out, h', w']`.
    pub(crate) fn weight_gradient(&self, x: &[f32], grad: &[f32], out: &mut [f32]) {
        let ((n_in, ..), (n_out, ..)) = (self.input, self.output);
        assert!(out.len() == self.area() * n_in * n_out);
        let (phases, panels) = (self.phases(x), self.panels(grad));
        let blocks = n_in.div_ceil(CHANNELS);
        let shared = Shared::new(out);
        (0..self.area() * blocks).into_par_iter().for_each_init(Aligned::default, |sums, task| {
            let (offset, channel) = (task / blocks, task % blocks * CHANNELS);
            let channels = (channel, CHANNELS.min(n_in - channel));
            dispatch(Weights {
                geometry: *self,
                phases: &phases,
                panels: &panels,
                offset,
                channels,
                sums,
                out: shared,
            });
        });
    }

    /// The padded input, columns sorted by their remainder to the stride: `[n_in, rows, stride, phase_width]`.
    fn phases(&self, x: &[f32]) -> Vec<f32> {
        let ((n_in, height, width), stride, padding) = (self.input, self.stride, self.padding);
        let (rows, n) = (height + 2 * padding, self.phase_width());
        let mut out = vec![0.0; n_in * rows * stride * n];
        let channels = out.par_chunks_mut(rows * stride * n).zip(x.par_chunks(height * width));
        channels.for_each(|(out, x)| {
            for (y, x) in x.chunks_exact(width).enumerate() {
                let row = &mut out[(y + padding) * stride * n..][..stride * n];
                match stride {
                    1 => row[padding..][..width].copy_from_slice(x),
                    _ => x.iter().enumerate().for_each(|(i, &value)| {
                        let column = i + padding;
                        row[column % stride * n + column / stride] = value;
                    }),
                }
            }
        });
        out
    }

    /// The result's gradient by image rows, each `[w', n_out]` in panels.
    fn panels(&self, grad: &[f32]) -> Aligned {
        let (n_out, height, width) = self.output;
        let columns = padded(n_out);
        let mut out = Aligned::zeros(height * width * columns);
        out.par_chunks_mut(width * columns).enumerate().for_each(|(y, panels)| {
            for channel in 0..n_out {
                let row = &grad[(channel * height + y) * width..][..width];
                for (x, &value) in row.iter().enumerate() {
                    panels[position(width, columns, x, channel).0] = value;
                }
            }
        });
        out
    }

    /// The gradient of the (upsampled) input of one image.
    ///
    /// Shapes: `turned` as of [`turned`], `grad` `[n_out, h', w']` → `out` `[n_in, h, w]`.
    pub(crate) fn input_gradient(&self, turned: &[f32], grad: &[f32], out: &mut [f32]) {
        let ((n_in, height, width), (n_out, rows, columns)) = (self.input, self.output);
        let spread;
        let (x, size) = if self.stride == 1 {
            (grad, (n_out, rows, columns))
        } else {
            // Zeros between the values, and behind them where the steps did not reach the input's end.
            let size = (height + 2 * self.padding + 1 - self.kernel, width + 2 * self.padding + 1 - self.kernel);
            let mut wide = vec![0.0; n_out * size.0 * size.1];
            for (wide, grad) in wide.chunks_exact_mut(size.0 * size.1).zip(grad.chunks_exact(rows * columns)) {
                for (y, grad) in grad.chunks_exact(columns).enumerate() {
                    let row = &mut wide[y * self.stride * size.1..][..size.1];
                    row.iter_mut().step_by(self.stride).zip(grad).for_each(|(to, from)| *to = *from);
                }
            }
            spread = wide;
            (&spread[..], (n_out, size.0, size.1))
        };
        let bias = vec![0.0; n_in];
        let conv = Conv {
            x,
            size,
            norm: None,
            upsample: 1,
            weight: turned,
            bias: &bias,
            kernel: self.kernel,
            stride: 1,
            padding: self.kernel - 1 - self.padding,
            add: false,
        };
        conv.run(out);
    }
}

/// Weights `[n_out, n_in, k, k]` turned by half a turn, channels exchanged: `[n_in, n_out, k, k]`.
pub(crate) fn turned(weight: &[f32], (n_in, n_out, area): (usize, usize, usize)) -> Vec<f32> {
    let mut out = vec![0.0; weight.len()];
    for o in 0..n_out {
        for i in 0..n_in {
            for k in 0..area {
                out[(i * n_out + o) * area + area - 1 - k] = weight[(o * n_in + i) * area + k];
            }
        }
    }
    out
}

struct Weights<'a, 'b> {
    geometry: Geometry,
    phases: &'a [f32],
    panels: &'a [f32],
    /// Row and column of the kernel, as one number.
    offset: usize,
    /// First input channel and number of channels.
    channels: (usize, usize),
    sums: &'b mut Aligned,
    out: Shared<'a>,
}

impl Kernel for Weights<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Geometry { input: (n_in, in_height, _), output: (n_out, height, width), kernel, stride, padding } =
            self.geometry;
        let (columns, n) = (padded(n_out), self.geometry.phase_width());
        let plane = (in_height + 2 * padding) * stride * n;
        let (ky, kx) = (self.offset / kernel, self.offset % kernel);
        let (first, n_channels) = self.channels;
        self.sums.resize(n_channels * columns);
        for y in 0..height {
            let start = first * plane + ((y * stride + ky) * stride + kx % stride) * n + kx / stride;
            let left = (&self.phases[start..], plane);
            let right =
                Panels { values: &self.panels[y * width * columns..][..width * columns], stride: width, columns };
            product::<L>(left, (n_channels, width), right, (self.sums, columns), y > 0);
        }
        for (channel, sums) in self.sums.chunks_exact(columns).enumerate() {
            let at = (self.offset * n_in + first + channel) * n_out;
            // SAFETY: tasks differ in offsets or channels.
            let out = unsafe { self.out.slice(at, n_out) };
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
        }
    }
}
