//! 2-D convolution by tiles of 16×16 outputs, with what comes before it (norm and swish, upsampling) folded into reading
//! and what comes after it (bias, residual) into writing.
//!
//! A task reads the patch under its tile a few channels at a time, spreads it into panels and multiplies: working memory
//! is a few hundred KiB a thread whatever the image. Spreading whole images, as the general convolution does, takes nine
//! times the input, and a norm, an activation and a residual of their own each take one more image.

use rayon::prelude::*;

use super::aligned::Aligned;
use super::lanes::Lanes;
use super::panel::{Panels, position, product};
use super::pointwise::silu;
use super::tensor::Shared;
use super::{Kernel, dispatch};

/// Outputs along a side of a tile.
const TILE: usize = 16;
/// Inner values (channel, kernel row, kernel column) of one product: a panel of them stays in a first-level cache.
const DEPTH: usize = 144;

/// A convolution of one image.
#[derive(Clone, Copy)]
pub(crate) struct Conv<'a> {
    /// `[n_in, height, width]`.
    pub(crate) x: &'a [f32],
    /// Channels, height and width of `x`.
    pub(crate) size: (usize, usize, usize),
    /// Per channel a and b: the convolution sees swish(a·x + b).
    pub(crate) norm: Option<&'a [(f32, f32)]>,
    /// Nearest upsampling by this factor before the convolution.
    pub(crate) upsample: usize,
    /// `[n_out, n_in, kernel, kernel]`.
    pub(crate) weight: &'a [f32],
    /// `[n_out]`.
    pub(crate) bias: &'a [f32],
    /// Side of the kernel.
    pub(crate) kernel: usize,
    /// Steps between outputs.
    pub(crate) stride: usize,
    /// Zeros on all sides.
    pub(crate) padding: usize,
    /// Whether to add to what stands in the output.
    pub(crate) add: bool,
}

impl Conv<'_> {
    /// Height and width of the output.
    pub(crate) fn output(&self) -> (usize, usize) {
        let side =
            |n: usize| (n * self.upsample + 2 * self.padding + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        (side(self.size.1), side(self.size.2))
    }

    /// Writes `out` `[n_out, output height, output width]`.
    pub(crate) fn run(self, out: &mut [f32]) {
        let ((n_in, height, width), n_out, (rows, columns)) = (self.size, self.bias.len(), self.output());
        assert!(self.x.len() == n_in * height * width && out.len() == n_out * rows * columns);
        assert!(self.weight.len() == n_out * n_in * self.kernel * self.kernel);
        assert!(self.norm.is_none_or(|norm| norm.len() == n_in));
        let (across, tiles) = (columns.div_ceil(TILE), rows.div_ceil(TILE) * columns.div_ceil(TILE));
        // Few tiles are divided by output channels too, so that every thread has work.
        let parts = (4 * rayon::current_num_threads()).div_ceil(tiles.max(1)).min(n_out.div_ceil(48)).max(1);
        let n_part = n_out.div_ceil(parts).next_multiple_of(6);
        let shared = Shared::new(out);
        (0..tiles * parts).into_par_iter().for_each_init(Buffers::default, |buffers, task| {
            let (tile, part) = (task / parts, task % parts);
            let (row, column) = (tile / across * TILE, tile % across * TILE);
            dispatch(Tile {
                conv: self,
                corner: (row, column),
                size: (TILE.min(rows - row), TILE.min(columns - column)),
                channels: ((part * n_part).min(n_out), ((part + 1) * n_part).min(n_out)),
                buffers,
                out: shared,
            });
        });
    }
}

/// Working memory of a thread.
#[derive(Default)]
struct Buffers {
    /// `[channels, patch side, patch side]`: the input under a tile.
    patch: Aligned,
    /// The patch spread for the product.
    panels: Aligned,
    /// `[n_out, tile]`.
    sums: Aligned,
}

struct Tile<'a, 'b> {
    conv: Conv<'a>,
    corner: (usize, usize),
    size: (usize, usize),
    channels: (usize, usize),
    buffers: &'b mut Buffers,
    out: Shared<'a>,
}

impl Kernel for Tile<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Conv { size: (n_in, ..), kernel, stride, weight, .. } = self.conv;
        let (first, last) = self.channels;
        let (area, side) = (kernel * kernel, (TILE - 1) * stride + kernel);
        let (block, columns) = ((DEPTH / area).max(1), self.size.0 * TILE);
        let Buffers { patch, panels, sums } = self.buffers;
        patch.resize(block * side * side);
        panels.resize(block * area * columns);
        sums.resize((last - first) * columns);
        for channel in (0..n_in).step_by(block) {
            let n = block.min(n_in - channel);
            for (c, patch) in patch.chunks_exact_mut(side * side).take(n).enumerate() {
                read::<L>(&self.conv, channel + c, self.corner, side, patch);
            }
            spread(&patch[..n * side * side], (side, kernel, stride), (n * area, columns), panels);
            let right = Panels { values: &panels[..n * area * columns], stride: n * area, columns };
            let left = (&weight[first * n_in * area + channel * area..], n_in * area);
            product::<L>(left, (last - first, n * area), right, (sums, columns), channel > 0);
        }
        write(&self.conv, self.corner, self.size, self.channels, sums, self.out);
    }
}

/// Fills a patch `[side, side]` with one channel under the tile at `corner`, zeros where it hangs over the image.
#[inline(always)]
fn read<L: Lanes>(conv: &Conv<'_>, channel: usize, corner: (usize, usize), side: usize, patch: &mut [f32]) {
    let (_, height, width) = conv.size;
    let plane = &conv.x[channel * height * width..][..height * width];
    // Patch indices inside the image: those whose index plus the corner, less the padding, lies in 0..n.
    let inside = |corner: usize, n: usize| {
        let start = corner * conv.stride;
        (
            conv.padding.saturating_sub(start).min(side),
            (n * conv.upsample + conv.padding).saturating_sub(start).min(side),
        )
    };
    let ((top, bottom), (left, right)) = (inside(corner.0, height), inside(corner.1, width));
    for (y, row) in patch.chunks_exact_mut(side).enumerate() {
        if y < top || y >= bottom || left >= right {
            row.fill(0.0);
            continue;
        }
        let from = (corner.0 * conv.stride + y - conv.padding) / conv.upsample * width;
        let column = corner.1 * conv.stride + left - conv.padding;
        row[..left].fill(0.0);
        row[right..].fill(0.0);
        let row = &mut row[left..right];
        match conv.upsample {
            1 => row.copy_from_slice(&plane[from + column..][..row.len()]),
            n => row.iter_mut().enumerate().for_each(|(i, to)| *to = plane[from + (column + i) / n]),
        }
        if let Some(norm) = conv.norm {
            let (a, b) = norm[channel];
            row.iter_mut().for_each(|x| *x = silu::<L>(L::fused(*x, a, b)));
        }
    }
}

/// Spreads a patch `[channels, side, side]` into panels `[depth = channels·kernel·kernel, columns = rows·TILE]`.
#[inline(always)]
fn spread(
    patch: &[f32],
    (side, kernel, stride): (usize, usize, usize),
    (depth, columns): (usize, usize),
    panels: &mut [f32],
) {
    let mut k = 0;
    for channel in patch.chunks_exact(side * side) {
        for offset in (0..kernel * kernel).map(|i| i / kernel * side + i % kernel) {
            for row in 0..columns / TILE {
                let (start, _) = position(depth, columns, k, row * TILE);
                let from = &channel[row * stride * side + offset..][..(TILE - 1) * stride + 1];
                let to = &mut panels[start..start + TILE];
                match stride {
                    1 => to.copy_from_slice(from),
                    _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, &from)| *to = from),
                }
            }
            k += 1;
        }
    }
}

/// Writes the sums of a tile, with bias, to its place.
#[inline(always)]
fn write(
    conv: &Conv<'_>,
    corner: (usize, usize),
    size: (usize, usize),
    channels: (usize, usize),
    sums: &[f32],
    out: Shared<'_>,
) {
    let (rows, columns) = conv.output();
    for (channel, sums) in (channels.0..channels.1).zip(sums.chunks_exact(size.0 * TILE)) {
        let bias = conv.bias[channel];
        for (row, sums) in sums.chunks_exact(TILE).enumerate() {
            let start = (channel * rows + corner.0 + row) * columns + corner.1;
            // SAFETY: tasks differ in tiles or channels.
            let out = unsafe { out.slice(start, size.1) };
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = if conv.add { *out + (sum + bias) } else { sum + bias };
            }
        }
    }
}
