//! Attention, backwards: weights are recomputed row by row, so that nothing of size rows × keys is kept.

use rayon::prelude::*;

use crate::attention::HeadLayout;
use crate::kernels::lanes::Lanes;
use crate::kernels::pointwise::exp;
use crate::kernels::tensor::Shared;
use crate::kernels::{Kernel, dispatch};

/// One sequence: its rows see each other, all of them or those before.
#[derive(Clone, Copy)]
pub(crate) struct Sequence {
    /// Its first row.
    pub(crate) first_row: usize,
    /// Its rows.
    pub(crate) n_rows: usize,
    /// Whether a row sees only itself and those before.
    pub(crate) causal: bool,
}

/// Rows of queries, keys or values, which may be columns of a wider matrix.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// From the first value on.
    pub(crate) values: &'a [f32],
    /// Values from row to row.
    pub(crate) stride: usize,
}

/// The same, to be written.
#[derive(Clone, Copy)]
pub(crate) struct RowsOut<'a> {
    /// The matrix.
    pub(crate) values: Shared<'a>,
    /// The first column.
    pub(crate) column: usize,
    /// Values from row to row.
    pub(crate) stride: usize,
}

/// Gradients of q, k and v, written to `out`, given that of the result `[T, n_heads·head_dim]`.
pub(crate) fn attend(
    [q, k, v]: [Rows<'_>; 3],
    grad: &[f32],
    sequences: &[Sequence],
    layout: HeadLayout,
    out: [RowsOut<'_>; 3],
) {
    let tasks: Vec<(Sequence, usize)> =
        sequences.iter().flat_map(|s| (0..layout.n_kv_heads).map(move |head| (*s, head))).collect();
    tasks.into_par_iter().for_each_init(Buffers::default, |buffers, (sequence, kv_head)| {
        dispatch(Task { q, k, v, grad, sequence, kv_head, layout, out, buffers });
    });
}

#[derive(Default)]
struct Buffers {
    /// Keys and values `[rows, head_dim]`, then both transposed.
    k: Vec<f32>,
    v: Vec<f32>,
    kt: Vec<f32>,
    vt: Vec<f32>,
    /// Gradients of keys and values.
    dk: Vec<f32>,
    dv: Vec<f32>,
    /// Of one row: weights, and the gradients of weights and scores.
    p: Vec<f32>,
    dp: Vec<f32>,
}

struct Task<'a, 'b> {
    q: Rows<'a>,
    k: Rows<'a>,
    v: Rows<'a>,
    grad: &'a [f32],
    sequence: Sequence,
    kv_head: usize,
    layout: HeadLayout,
    out: [RowsOut<'a>; 3],
    buffers: &'b mut Buffers,
}

impl Kernel for Task<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (n, d, first) = (self.sequence.n_rows, self.layout.head_dim, self.sequence.first_row);
        let Buffers { k, v, kt, vt, dk, dv, p, dp } = self.buffers;
        gather(self.k, (first, n), (self.kv_head * d, d), k, kt);
        gather(self.v, (first, n), (self.kv_head * d, d), v, vt);
        for buffer in [&mut *dk, &mut *dv] {
            buffer.clear();
            buffer.resize(n * d, 0.0);
        }
        p.resize(n, 0.0);
        dp.resize(n, 0.0);
        let group = self.layout.n_heads / self.layout.n_kv_heads;
        let scale = (d as f32).powf(-0.5);
        for head in self.kv_head * group..(self.kv_head + 1) * group {
            for row in 0..n {
                let seen = if self.sequence.causal { row + 1 } else { n };
                let q = &self.q.values[(first + row) * self.q.stride + head * d..][..d];
                let grad = &self.grad[(first + row) * self.layout.n_heads * d + head * d..][..d];
                let (p, dp) = (&mut p[..seen], &mut dp[..seen]);
                weigh::<L>(q, kt, n, scale, p);
                combine(grad, vt, n, dp);
                let mean: f32 = p.iter().zip(dp.iter()).map(|(p, dp)| p * dp).sum();
                dp.iter_mut().zip(p.iter()).for_each(|(dp, p)| *dp = p * (*dp - mean) * scale);
                let [out, _, _] = self.out;
                // SAFETY: tasks differ in rows or heads.
                let dq = unsafe { out.values.slice((first + row) * out.stride + out.column + head * d, d) };
                dq.fill(0.0);
                for j in 0..seen {
                    let (ds, w) = (dp[j], p[j]);
                    let (k, dk, dv) = (&k[j * d..][..d], &mut dk[j * d..][..d], &mut dv[j * d..][..d]);
                    for i in 0..d {
                        dq[i] += ds * k[i];
                        dk[i] += ds * q[i];
                        dv[i] += w * grad[i];
                    }
                }
            }
        }
        for (out, from) in [(self.out[1], &*dk), (self.out[2], &*dv)] {
            for (row, from) in from.chunks_exact(d).enumerate() {
                let start = (first + row) * out.stride + out.column + self.kv_head * d;
                // SAFETY: tasks differ in rows or heads.
                unsafe { out.values.slice(start, d) }.copy_from_slice(from);
            }
        }
    }
}

/// Copies `n` rows of `d` columns, as they are and transposed.
#[inline(always)]
fn gather(
    from: Rows<'_>,
    (first, n): (usize, usize),
    (column, d): (usize, usize),
    rows: &mut Vec<f32>,
    transposed: &mut Vec<f32>,
) {
    rows.resize(n * d, 0.0);
    transposed.resize(n * d, 0.0);
    for row in 0..n {
        let values = &from.values[(first + row) * from.stride + column..][..d];
        rows[row * d..][..d].copy_from_slice(values);
        for (i, value) in values.iter().enumerate() {
            transposed[i * n + row] = *value;
        }
    }
}

/// out[j] = Σ x[i]·m[i][j], m in rows of `n`.
#[inline(always)]
fn combine(x: &[f32], m: &[f32], n: usize, out: &mut [f32]) {
    out.fill(0.0);
    for (x, row) in x.iter().zip(m.chunks_exact(n)) {
        out.iter_mut().zip(row).for_each(|(out, m)| *out += x * m);
    }
}

/// The softmax of a row of scores.
#[inline(always)]
fn weigh<L: Lanes>(q: &[f32], kt: &[f32], n: usize, scale: f32, p: &mut [f32]) {
    combine(q, kt, n, p);
    let max = p.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    p.iter_mut().for_each(|p| *p = exp::<L>((*p - max) * scale));
    let total: f32 = p.iter().sum();
    p.iter_mut().for_each(|p| *p /= total);
}
