//! Products with a right side packed into panels of 64 columns.
//!
//! Every element of the result is one chain of fused multiply-adds along the inner axis, whatever the block it falls in.

use super::lanes::Lanes;

/// Columns of a panel.
pub(crate) const PANEL: usize = 64;
/// Column counts are rounded up to this, a multiple of every lane count.
pub(crate) const ROUND: usize = 16;

/// Columns as they are stored.
pub(crate) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(ROUND)
}

/// A right side `[depth, columns]`, packed: panel after panel, each `[stride, width]` row-major, where width is 64 but
/// for the last panel.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    /// The packed values.
    pub(crate) values: &'a [f32],
    /// Rows that each panel has room for, at least those used.
    pub(crate) stride: usize,
    /// Columns, a multiple of [`ROUND`].
    pub(crate) columns: usize,
}

/// Index of the first value of row `row` from `column` on, and how many columns of that panel follow it, itself
/// included.
#[inline(always)]
pub(crate) fn position(stride: usize, columns: usize, row: usize, column: usize) -> (usize, usize) {
    let first = column / PANEL * PANEL;
    let width = PANEL.min(columns - first);
    (first * stride + row * width + column - first, width - (column - first))
}

/// `out = left·right`, or `out += left·right` where `add`.
///
/// Shapes: `left` `[rows, depth]` in rows of `left_stride` values, `out` `[rows, columns]` in rows of `out_stride`.
#[inline(always)]
pub(crate) fn product<L: Lanes>(
    left: (&[f32], usize),
    sizes: (usize, usize),
    right: Panels<'_>,
    (out, out_stride): (&mut [f32], usize),
    add: bool,
) {
    // SAFETY: a slice can be written and holds values.
    unsafe { product_into::<L>(left, sizes, right, (out.as_mut_ptr(), out.len(), out_stride), add) }
}

/// [`product`] into `out`, a place for a number of values.
///
/// # Safety
/// It must be writable for that many, and where `add` hold values.
#[inline(always)]
pub(crate) unsafe fn product_into<L: Lanes>(
    (left, left_stride): (&[f32], usize),
    (rows, depth): (usize, usize),
    right: Panels<'_>,
    (out, out_len, out_stride): (*mut f32, usize, usize),
    add: bool,
) {
    if rows == 0 || right.columns == 0 {
        return;
    }
    assert!(depth <= right.stride && right.columns.is_multiple_of(ROUND) && right.columns <= out_stride);
    assert!(depth <= left_stride && left.len() >= (rows - 1) * left_stride + depth);
    assert!(out_len >= (rows - 1) * out_stride + right.columns && right.values.len() >= right.stride * right.columns);
    let mut column = 0;
    while column < right.columns {
        let (start, width) = position(right.stride, right.columns, 0, column);
        let mut row = 0;
        while row < rows {
            let n_rows = (rows - row).min(6);
            // SAFETY: the assertions above hold the block inside left, right and out.
            unsafe {
                let operands = Operands {
                    left: left.as_ptr().add(row * left_stride),
                    left_stride,
                    right: right.values.as_ptr().add(start),
                    right_stride: width,
                    out: out.add(row * out_stride + column),
                    out_stride,
                    depth,
                    add,
                };
                match n_rows {
                    6 => operands.columns::<L, 6>(width),
                    5 => operands.columns::<L, 5>(width),
                    4 => operands.columns::<L, 4>(width),
                    3 => operands.columns::<L, 3>(width),
                    2 => operands.columns::<L, 2>(width),
                    _ => operands.columns::<L, 1>(width),
                }
            }
            row += n_rows;
        }
        column += width;
    }
}

struct Operands {
    left: *const f32,
    left_stride: usize,
    right: *const f32,
    right_stride: usize,
    out: *mut f32,
    out_stride: usize,
    depth: usize,
    add: bool,
}

impl Operands {
    #[inline(always)]
    unsafe fn columns<L: Lanes, const M: usize>(&self, width: usize) {
        let mut column = 0;
        while column < width {
            let vectors = ((width - column) / L::N).min(L::COLUMNS);
            // SAFETY: `vectors` vectors from `column` on lie inside the panel and the rows of out.
            unsafe {
                match vectors {
                    4 => self.block::<L, M, 4>(column),
                    3 => self.block::<L, M, 3>(column),
                    2 => self.block::<L, M, 2>(column),
                    _ => self.block::<L, M, 1>(column),
                }
            }
            column += vectors * L::N;
        }
    }

    #[inline(always)]
    unsafe fn block<L: Lanes, const M: usize, const V: usize>(&self, column: usize) {
        // SAFETY: M rows and V vectors from `column` on lie inside the operands.
        unsafe {
            let out = self.out.add(column);
            let mut sums = [[L::splat(0.0); V]; M];
            if self.add {
                for (m, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate() {
                        *sum = L::load(out.add(m * self.out_stride + v * L::N));
                    }
                }
            }
            let mut right = self.right.add(column);
            for k in 0..self.depth {
                let vectors: [L; V] = std::array::from_fn(|v| L::load(right.add(v * L::N)));
                for (m, row) in sums.iter_mut().enumerate() {
                    let value = L::splat(*self.left.add(m * self.left_stride + k));
                    for (sum, &vector) in row.iter_mut().zip(&vectors) {
                        *sum = value.mul_add(vector, *sum);
                    }
                }
                right = right.add(self.right_stride);
            }
            for (m, row) in sums.iter().enumerate() {
                for (v, sum) in row.iter().enumerate() {
                    sum.store(out.add(m * self.out_stride + v * L::N));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kernel, lanes};
    use super::*;

    /// A product over operands made of the sizes, against the plain triple loop.
    #[derive(Clone, Copy)]
    struct Check(usize, usize, usize, bool);

    impl Kernel for Check {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self) {
            let Self(rows, depth, columns, add) = self;
            let value = |i: usize| ((i * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
            let left: Vec<f32> = (0..rows * depth).map(value).collect();
            let matrix: Vec<f32> = (0..depth * columns).map(|i| value(i + 5)).collect();
            let mut values = vec![0.0; depth * columns];
            for (i, value) in matrix.iter().enumerate() {
                values[position(depth, columns, i / columns, i % columns).0] = *value;
            }
            let mut out = vec![0.5; rows * columns];
            let right = Panels { values: &values, stride: depth, columns };
            product::<L>((&left, depth), (rows, depth), right, (&mut out, columns), add);
            for (i, out) in out.iter().enumerate() {
                let row = &left[i / columns * depth..][..depth];
                let column = matrix[i % columns..].iter().step_by(columns);
                let exact: f32 = row.iter().zip(column).map(|(a, b)| a * b).sum::<f32>() + if add { 0.5 } else { 0.0 };
                assert!((out - exact).abs() < 1e-4, "{rows}×{depth}×{columns} at {i}: {out} is not {exact}");
            }
        }
    }

    #[test]
    fn lanes_of_every_machine_agree() {
        for rows in [1, 2, 3, 4, 5, 6, 7, 13] {
            for (depth, columns) in [(1, 16), (5, 32), (17, 48), (3, 64), (20, 80), (9, 112), (33, 144)] {
                for add in [false, true] {
                    let check = Check(rows, depth, columns, add);
                    check.run::<lanes::Portable>();
                    #[cfg(target_arch = "x86_64")]
                    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                        // SAFETY: the instruction set was detected above.
                        unsafe { super::super::run_avx2(check) }
                    }
                    super::super::dispatch(check);
                }
            }
        }
    }
}
