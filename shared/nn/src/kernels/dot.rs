//! `x·Wᵀ` straight from row-major weights, by blocks of dot products.
//!
//! Weights are `[n_out, n_in]` as checkpoints hold them, so both sides are read along their rows and nothing is
//! transposed, packed or copied: one row streams the weights once, many rows reuse them from the cache. Each result is
//! summed the same way (lanes along the inner axis, then across lanes, block of [`DEPTH`] by block) in every block shape,
//! so a row's bits never depend on its company.

use rayon::prelude::*;

use super::lanes::Lanes;
use super::tensor::Shared;
use super::{Kernel, dispatch};

/// Inner values that are summed in lanes before the lanes are added up.
const DEPTH: usize = 2048;
/// Input rows of a task: with `DEPTH` inner values they stay in a second-level cache.
const TASK_ROWS: usize = 48;

/// `out = x·Wᵀ + bias`.
///
/// Shapes: `x` `[rows, n_in]`, `w` `[n_out, n_in]`, `bias` `[n_out]`, `out` `[rows, n_out]`.
pub(crate) fn linear(x: &[f32], w: &[f32], bias: Option<&[f32]>, n_in: usize, n_out: usize, out: &mut [f32]) {
    if n_in == 0 || n_out == 0 || x.is_empty() {
        out.fill(0.0);
        return;
    }
    let rows = x.len() / n_in;
    assert!(x.len() == rows * n_in && w.len() == n_out * n_in && out.len() == rows * n_out);
    assert!(bias.is_none_or(|b| b.len() == n_out));
    let task_outputs = (1_usize << 18).div_ceil(n_in * rows.min(TASK_ROWS)).clamp(12, 240).next_multiple_of(12);
    let (row_tasks, output_tasks) = (rows.div_ceil(TASK_ROWS), n_out.div_ceil(task_outputs));
    let shared = Shared::new(out);
    (0..row_tasks * output_tasks).into_par_iter().for_each(|task| {
        let (first_output, first_row) = (task / row_tasks * task_outputs, task % row_tasks * TASK_ROWS);
        dispatch(Task {
            x,
            w,
            bias,
            n_in,
            n_out,
            rows: (first_row, (first_row + TASK_ROWS).min(rows)),
            outputs: (first_output, (first_output + task_outputs).min(n_out)),
            out: shared,
        });
    });
}

struct Task<'a> {
    x: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    n_in: usize,
    n_out: usize,
    rows: (usize, usize),
    outputs: (usize, usize),
    out: Shared<'a>,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let mut start = 0;
        while start < self.n_in {
            let depth = DEPTH.min(self.n_in - start);
            let mut output = self.outputs.0;
            while output < self.outputs.1 {
                let n = (self.outputs.1 - output).min(L::WEIGHTS);
                match n {
                    4 => self.weights::<L, 4>(output, start, depth),
                    3 => self.weights::<L, 3>(output, start, depth),
                    2 => self.weights::<L, 2>(output, start, depth),
                    _ => self.weights::<L, 1>(output, start, depth),
                }
                output += n;
            }
            start += depth;
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn weights<L: Lanes, const W: usize>(&self, output: usize, start: usize, depth: usize) {
        let mut row = self.rows.0;
        while row < self.rows.1 {
            let n = (self.rows.1 - row).min(L::ROWS);
            match n {
                6 => self.block::<L, W, 6>(output, row, start, depth),
                5 => self.block::<L, W, 5>(output, row, start, depth),
                4 => self.block::<L, W, 4>(output, row, start, depth),
                3 => self.block::<L, W, 3>(output, row, start, depth),
                2 => self.block::<L, W, 2>(output, row, start, depth),
                _ => self.block::<L, W, 1>(output, row, start, depth),
            }
            row += n;
        }
    }

    /// Dot products of M rows and W weight rows over `depth` inner values from `start` on, added to what stands in out.
    #[inline(always)]
    fn block<L: Lanes, const W: usize, const M: usize>(&self, output: usize, row: usize, start: usize, depth: usize) {
        let mut sums = [[L::splat(0.0); W]; M];
        let (x, w) = (&self.x[row * self.n_in + start..], &self.w[output * self.n_in + start..]);
        assert!(x.len() >= (M - 1) * self.n_in + depth && w.len() >= (W - 1) * self.n_in + depth);
        let whole = depth / L::N * L::N;
        // SAFETY: the assertion above holds every load inside x and w.
        unsafe {
            let (x, w) = (x.as_ptr(), w.as_ptr());
            let mut k = 0;
            while k < whole {
                let weights: [L; W] = std::array::from_fn(|i| L::load(w.add(i * self.n_in + k)));
                for (m, row) in sums.iter_mut().enumerate() {
                    let values = L::load(x.add(m * self.n_in + k));
                    for (sum, &weight) in row.iter_mut().zip(&weights) {
                        *sum = values.mul_add(weight, *sum);
                    }
                }
                k += L::N;
            }
            if whole < depth {
                let rest = depth - whole;
                let weights: [L; W] = std::array::from_fn(|i| partial(w.add(i * self.n_in + whole), rest));
                for (m, row) in sums.iter_mut().enumerate() {
                    let values: L = partial(x.add(m * self.n_in + whole), rest);
                    for (sum, &weight) in row.iter_mut().zip(&weights) {
                        *sum = values.mul_add(weight, *sum);
                    }
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            // SAFETY: tasks differ in rows or outputs.
            let out = unsafe { self.out.slice((row + m) * self.n_out + output, W) };
            for (w, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
                let before = if start == 0 { self.bias.map_or(0.0, |b| b[output + w]) } else { *out };
                *out = before + sum.sum();
            }
        }
    }
}

/// Loads fewer values than a vector holds, zeros behind them.
#[inline(always)]
unsafe fn partial<L: Lanes>(from: *const f32, n: usize) -> L {
    let mut values = [0.0_f32; 16];
    // SAFETY: `from` is readable for n < 16 values, by the caller's word.
    unsafe {
        std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), n);
        L::load(values.as_ptr())
    }
}
