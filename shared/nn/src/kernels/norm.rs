//! Norms in one pass over memory where rows are short, and the statistics of groups of channels.

use rayon::prelude::*;

use super::lanes::Lanes;
use super::{Kernel, dispatch};

/// Rows below which threads cost more than they save, in values.
const TASK: usize = 1 << 14;

/// What is done to each row: (x − mean)·/√(variance + ε) or x/√(mean square + ε), then times weight plus bias.
#[derive(Clone, Copy)]
pub(crate) struct RowNorm<'a> {
    /// Whether the mean is taken off.
    pub(crate) centred: bool,
    /// Added to the variance.
    pub(crate) eps: f32,
    /// `[width]`.
    pub(crate) weight: Option<&'a [f32]>,
    /// `[width]`.
    pub(crate) bias: Option<&'a [f32]>,
}

impl RowNorm<'_> {
    /// Norms rows of `width` values.
    pub(crate) fn run(self, x: &[f32], width: usize, out: &mut [f32]) {
        assert!(x.len() == out.len() && self.weight.is_none_or(|w| w.len() == width));
        assert!(self.bias.is_none_or(|b| b.len() == width));
        if width == 0 {
            return;
        }
        let task = (TASK / width).max(1) * width;
        let rows = |(x, out): (&[f32], &mut [f32])| dispatch(Rows { norm: self, width, x, out });
        if x.len() <= task {
            rows((x, out));
        } else {
            x.par_chunks(task).zip(out.par_chunks_mut(task)).for_each(rows);
        }
    }
}

struct Rows<'a> {
    norm: RowNorm<'a>,
    width: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let n = self.width as f32;
        for (x, out) in self.x.chunks_exact(self.width).zip(self.out.chunks_exact_mut(self.width)) {
            let mean = if self.norm.centred { sum(x, |x| x) / n } else { 0.0 };
            let inverse = (sum(x, |x| (x - mean) * (x - mean)) / n + self.norm.eps).sqrt().recip();
            for (out, x) in out.iter_mut().zip(x) {
                *out = (x - mean) * inverse;
            }
            if let Some(weight) = self.norm.weight {
                out.iter_mut().zip(weight).for_each(|(out, weight)| *out *= weight);
            }
            if let Some(bias) = self.norm.bias {
                out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
        }
    }
}

/// A sum in sixteen strands, which vectorizes and rounds less than one.
#[inline(always)]
pub(crate) fn sum(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut strands = [0.0_f32; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (strand, &x) in strands.iter_mut().zip(chunk) {
            *strand += of(x);
        }
    }
    strands.iter().sum::<f32>() + rest.iter().map(|&x| of(x)).sum::<f32>()
}

/// Per channel of an image `[n_channels, positions]`, a and b such that the normed value is a·x + b.
pub(crate) fn group_scales(x: &[f32], weight: &[f32], bias: &[f32], n_groups: usize, eps: f32) -> Vec<(f32, f32)> {
    let (group, channels) = (x.len() / n_groups, weight.len() / n_groups);
    let statistics: Vec<(f32, f32)> =
        (0..n_groups).into_par_iter().map(|i| dispatch(Moments(&x[i * group..][..group]))).collect();
    (0..weight.len())
        .map(|channel| {
            let (mean, variance) = statistics[channel / channels];
            let a = weight[channel] / (variance + eps).sqrt();
            (a, bias[channel] - mean * a)
        })
        .collect()
}

/// Mean and variance of many values, in two passes.
struct Moments<'a>(&'a [f32]);

impl Kernel for Moments<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<L: Lanes>(self) -> (f32, f32) {
        // Sums of 4096 in f32, those of millions in f64.
        let mean_of = |of: &dyn Fn(&[f32]) -> f32| {
            self.0.chunks(4096).map(|chunk| f64::from(of(chunk))).sum::<f64>() / self.0.len() as f64
        };
        let mean = mean_of(&|chunk| sum(chunk, |x| x)) as f32;
        let variance = mean_of(&|chunk| sum(chunk, |x| (x - mean) * (x - mean)));
        (mean, variance as f32)
    }
}

/// a·x + b per channel of an image `[n_channels, positions]`.
pub(crate) fn scale_channels(x: &[f32], scales: &[(f32, f32)], out: &mut [f32]) {
    let positions = x.len() / scales.len();
    if positions == 0 {
        return;
    }
    out.par_chunks_mut(positions).zip(x.par_chunks(positions)).zip(scales).for_each(|((out, x), &scale)| {
        dispatch(Channel { x, scale, out });
    });
}

struct Channel<'a> {
    x: &'a [f32],
    scale: (f32, f32),
    out: &'a mut [f32],
}

impl Kernel for Channel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (a, b) = self.scale;
        self.out.iter_mut().zip(self.x).for_each(|(out, &x)| *out = L::fused(x, a, b));
    }
}
