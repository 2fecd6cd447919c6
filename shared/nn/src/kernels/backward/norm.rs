//! LayerNorm, RMSNorm and GroupNorm, backwards.

use rayon::prelude::*;

use crate::kernels::lanes::Lanes;
use crate::kernels::norm::{RowNorm, sum};
use crate::kernels::{Kernel, dispatch};

/// Rows whose sums over rows are taken together.
const ROWS: usize = 64;

/// Gradients of a norm over rows.
pub(crate) struct RowGradients {
    /// Of the input, `[T, width]`.
    pub(crate) x: Vec<f32>,
    /// Of the weight, `[width]`.
    pub(crate) weight: Vec<f32>,
    /// Of the bias, `[width]`.
    pub(crate) bias: Vec<f32>,
}

/// Gradients of [`RowNorm`] at `x`, given that of its result.
///
/// Shapes: `x` and `grad` `[T, width]`.
pub(crate) fn row_norm(norm: RowNorm<'_>, x: &[f32], grad: &[f32], width: usize) -> RowGradients {
    assert!(width > 0 && x.len() == grad.len() && x.len().is_multiple_of(width));
    let mut of_x = vec![0.0; x.len()];
    let tasks = of_x.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width)).zip(grad.par_chunks(ROWS * width));
    let sums: Vec<(Vec<f32>, Vec<f32>)> =
        tasks.map(|((out, x), grad)| dispatch(Rows { norm, width, x, grad, out })).collect();
    let (mut weight, mut bias) = (vec![0.0; width], vec![0.0; width]);
    for (w, b) in sums {
        weight.iter_mut().zip(w).for_each(|(sum, w)| *sum += w);
        bias.iter_mut().zip(b).for_each(|(sum, b)| *sum += b);
    }
    RowGradients { x: of_x, weight, bias }
}

struct Rows<'a> {
    norm: RowNorm<'a>,
    width: usize,
    x: &'a [f32],
    grad: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn run<L: Lanes>(self) -> (Vec<f32>, Vec<f32>) {
        let (width, n) = (self.width, self.width as f32);
        let (mut weight, mut bias) = (vec![0.0; width], vec![0.0; width]);
        let (mut normed, mut scaled) = (vec![0.0; width], vec![0.0; width]);
        let rows = self.x.chunks_exact(width).zip(self.grad.chunks_exact(width)).zip(self.out.chunks_exact_mut(width));
        for ((x, grad), out) in rows {
            let mean = if self.norm.centred { sum(x, |x| x) / n } else { 0.0 };
            let inverse = (sum(x, |x| (x - mean) * (x - mean)) / n + self.norm.eps).sqrt().recip();
            normed.iter_mut().zip(x).for_each(|(normed, x)| *normed = (x - mean) * inverse);
            scaled.copy_from_slice(grad);
            if let Some(weights) = self.norm.weight {
                scaled.iter_mut().zip(weights).for_each(|(scaled, weight)| *scaled *= weight);
            }
            let offset = if self.norm.centred { sum(&scaled, |x| x) / n } else { 0.0 };
            for i in 0..width {
                weight[i] += grad[i] * normed[i];
                bias[i] += grad[i];
                out[i] = scaled[i] * normed[i];
            }
            let slope = sum(out, |x| x) / n;
            for i in 0..width {
                out[i] = inverse * (scaled[i] - offset - normed[i] * slope);
            }
        }
        (weight, bias)
    }
}

/// Sums over rows `[T, n]` into `out` `[n]`.
pub(crate) fn column_sums(x: &[f32], out: &mut [f32]) {
    struct Columns<'a>(&'a [f32], &'a mut [f32]);
    impl Kernel for Columns<'_> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self) {
            for row in self.0.chunks_exact(self.1.len().max(1)) {
                self.1.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        }
    }
    dispatch(Columns(x, out));
}

/// Gradients of GroupNorm for one image, given that of its result, which becomes that of its input.
///
/// Shapes: `x` and `grad` `[C, positions]`, `weight` `[C]` → gradients of weight and bias, `[C]` each.
pub(crate) fn group_norm(
    x: &[f32],
    grad: &mut [f32],
    weight: &[f32],
    n_groups: usize,
    eps: f32,
) -> (Vec<f32>, Vec<f32>) {
    let (n_group, channels) = (x.len() / n_groups, weight.len() / n_groups);
    assert!(n_group > 0 && grad.len() == x.len());
    let groups = x.par_chunks(n_group).zip(grad.par_chunks_mut(n_group)).zip(weight.par_chunks(channels));
    let sums: Vec<(Vec<f32>, Vec<f32>)> =
        groups.map(|((x, grad), weight)| dispatch(Group { x, grad, weight, eps })).collect();
    sums.into_iter().fold((Vec::new(), Vec::new()), |(mut weights, mut biases), (weight, bias)| {
        weights.extend(weight);
        biases.extend(bias);
        (weights, biases)
    })
}

struct Group<'a> {
    x: &'a [f32],
    grad: &'a mut [f32],
    weight: &'a [f32],
    eps: f32,
}

impl Kernel for Group<'_> {
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn run<L: Lanes>(self) -> (Vec<f32>, Vec<f32>) {
        let n = self.x.len() as f32;
        let positions = self.x.len() / self.weight.len();
        // Images for training are small: sixteen strands of f32 hold enough digits.
        let mean = sum(self.x, |x| x) / n;
        let inverse = (sum(self.x, |x| (x - mean) * (x - mean)) / n + self.eps).sqrt().recip();
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        let (mut offset, mut slope) = (0.0, 0.0);
        for ((x, grad), weight) in self.x.chunks(positions).zip(self.grad.chunks(positions)).zip(self.weight) {
            let bias = sum(grad, |g| g);
            let product = dot(x, grad, mean) * inverse;
            weights.push(product);
            biases.push(bias);
            offset += weight * bias / n;
            slope += weight * product / n;
        }
        let channels = self.x.chunks(positions).zip(self.grad.chunks_mut(positions)).zip(self.weight);
        for ((x, grad), weight) in channels {
            for (grad, x) in grad.iter_mut().zip(x) {
                *grad = inverse * (weight * *grad - offset - (x - mean) * inverse * slope);
            }
        }
        (weights, biases)
    }
}

/// Σ (x − mean)·y in sixteen strands.
#[inline(always)]
fn dot(x: &[f32], y: &[f32], mean: f32) -> f32 {
    let mut strands = [0.0_f32; 16];
    let (xs, ys) = (x.chunks_exact(16), y.chunks_exact(16));
    let rest: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| (x - mean) * y).sum();
    for (x, y) in xs.zip(ys) {
        for i in 0..16 {
            strands[i] += (x[i] - mean) * y[i];
        }
    }
    strands.iter().sum::<f32>() + rest
}
