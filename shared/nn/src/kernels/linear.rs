//! `x·Wᵀ + b` with the weights read where they lie.
//!
//! Checkpoints hold weights as `[n_out, n_in]`, row-major, which is just what the left side of a panel product wants. So
//! the input is transposed into panels instead, once per call, and the weights are neither copied nor packed: one row
//! streams them once, many rows reuse them from the cache. Each result is one chain of multiply-adds along the inner axis,
//! so a row's bits never depend on its company.

use rayon::prelude::*;

use super::aligned::Aligned;
use super::lanes::Lanes;
use super::panel::{PANEL, Panels, padded, product};
use super::tensor::Shared;
use super::{Kernel, dispatch};

/// Input rows of a task.
const TASK_ROWS: usize = 4 * PANEL;
/// Values of a panel that are multiplied in one go: they stay in a first-level cache.
const BLOCK: usize = 128 * PANEL;

/// `out = x·Wᵀ + bias`.
///
/// Shapes: `x` `[rows, n_in]`, `w` `[n_out, n_in]`, `bias` `[n_out]`, `out` `[rows, n_out]`.
pub(crate) fn linear(x: &[f32], w: &[f32], bias: Option<&[f32]>, (n_in, n_out): (usize, usize), out: &mut [f32]) {
    let rows = out.len() / n_out.max(1);
    assert!(x.len() == rows * n_in && w.len() == n_out * n_in && out.len() == rows * n_out);
    assert!(bias.is_none_or(|b| b.len() == n_out));
    if out.is_empty() {
        return;
    }
    let panels = pack(x, n_in, rows);
    // Tasks of about 10⁶ products are long enough to be worth a thread, short enough to be shared out evenly. With many
    // rows they take more outputs, so that a panel is read from farther memory less often.
    let (least, most) = if rows > PANEL { (48, 96) } else { (12, 96) };
    let task_outputs =
        (1_usize << 20).div_ceil(n_in.max(1) * rows.min(TASK_ROWS)).clamp(least, most).next_multiple_of(12);
    let (row_tasks, output_tasks) = (rows.div_ceil(TASK_ROWS), n_out.div_ceil(task_outputs));
    let shared = Shared::new(out);
    (0..row_tasks * output_tasks).into_par_iter().for_each_init(Aligned::default, |sums, task| {
        let (first_output, first_row) = (task / row_tasks * task_outputs, task % row_tasks * TASK_ROWS);
        let n_rows = TASK_ROWS.min(rows - first_row);
        dispatch(Task {
            panels: &panels[first_row * n_in..][..padded(n_rows) * n_in],
            w,
            bias,
            n_in,
            n_out,
            rows: (first_row, n_rows),
            outputs: (first_output, task_outputs.min(n_out - first_output)),
            sums,
            out: shared,
        });
    });
}

/// The input transposed: for every 64 rows a panel `[n_in, 64]`, the last as narrow as its rows allow.
fn pack(x: &[f32], n_in: usize, rows: usize) -> Aligned {
    let mut panels = Aligned::zeros(padded(rows) * n_in);
    if n_in > 0 {
        let pairs = panels.par_chunks_mut(PANEL * n_in).zip(x.par_chunks(PANEL * n_in));
        pairs.for_each(|(panel, x)| transpose(x, n_in, panel.len() / n_in, panel));
    }
    panels
}

/// `x` `[rows, n_in]` into `panel` `[n_in, width]`, by blocks that stay in a first-level cache.
fn transpose(x: &[f32], n_in: usize, width: usize, panel: &mut [f32]) {
    for start in (0..n_in).step_by(64) {
        let n = 64.min(n_in - start);
        for (row, x) in x.chunks_exact(n_in).enumerate() {
            for (k, value) in x[start..start + n].iter().enumerate() {
                panel[(start + k) * width + row] = *value;
            }
        }
    }
}

struct Task<'a, 'b> {
    panels: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    n_in: usize,
    n_out: usize,
    /// First row and number of rows.
    rows: (usize, usize),
    /// First output and number of outputs.
    outputs: (usize, usize),
    sums: &'b mut Aligned,
    out: Shared<'a>,
}

impl Kernel for Task<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let ((first_output, n_outputs), (_, n_rows), n_in) = (self.outputs, self.rows, self.n_in);
        let columns = padded(n_rows);
        self.sums.resize(n_outputs * columns);
        self.sums.fill(0.0);
        let depth = BLOCK / columns.min(PANEL);
        for start in (0..n_in).step_by(depth) {
            let depth = depth.min(n_in - start);
            let left = &self.w[first_output * n_in + start..];
            for column in (0..columns).step_by(PANEL) {
                let width = PANEL.min(columns - column);
                let values = &self.panels[column * n_in + start * width..][..depth * width];
                let right = Panels { values, stride: depth, columns: width };
                let sums = &mut self.sums[column..];
                product::<L>((left, n_in), (n_outputs, depth), right, (sums, columns), true);
            }
        }
        self.write(columns);
    }
}

impl Task<'_, '_> {
    /// Transposes the sums `[outputs, columns]` into out, with bias.
    #[inline(always)]
    fn write(&self, columns: usize) {
        let ((first_output, n_outputs), (first_row, n_rows)) = (self.outputs, self.rows);
        for row in 0..n_rows {
            // SAFETY: tasks differ in rows or outputs.
            let out = unsafe { self.out.slice((first_row + row) * self.n_out + first_output, n_outputs) };
            let sums = self.sums[row..].iter().step_by(columns);
            match self.bias {
                Some(bias) => {
                    let bias = &bias[first_output..][..n_outputs];
                    out.iter_mut().zip(sums).zip(bias).for_each(|((out, sum), bias)| *out = sum + bias);
                }
                None => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum),
            }
        }
    }
}
