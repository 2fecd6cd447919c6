//! PIL's antialiased bicubic resize, to the bit.
//!
//! PIL filters 8-bit images in fixed point: coefficients are scaled by 2^22 and rounded away from zero, each pass sums
//! them into an `i32` that starts at one half, shifts and clamps to 0..=255. The horizontal pass comes first and its
//! result is rounded to 8 bits before the vertical one; a pass that would change nothing is left out. All of this shows
//! in the result, so all of it is repeated here (parity cases `preprocess_*`).

use rayon::prelude::*;

use crate::Rgb8;

/// Fractional bits of a coefficient: 32 minus 8 for the sample minus 2 for the sign and the overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Half the filter's width at scale 1.
const SUPPORT: f64 = 2.0;

/// The coefficients of one axis.
pub(crate) struct Filter {
    /// Per output position: first source position, and where its coefficients lie in `weights`.
    taps: Vec<(usize, std::ops::Range<usize>)>,
    /// Coefficients times 2^22.
    weights: Vec<i32>,
}

impl Filter {
    /// Coefficients that take `from` samples to `to` samples, both at least 1.
    pub(crate) fn bicubic(from: u32, to: u32) -> Self {
        let scale = f64::from(from) / f64::from(to);
        // Shrinking widens the filter (that is the antialiasing); growing does not narrow it.
        let filter_scale = scale.max(1.0);
        let support = SUPPORT * filter_scale;
        let mut filter = Self { taps: Vec::with_capacity(to as usize), weights: Vec::new() };
        for position in 0..to {
            let centre = (f64::from(position) + 0.5) * scale;
            // Truncation toward zero, then clamping, as the C code does.
            let first = ((centre - support + 0.5) as i64).max(0);
            let end = ((centre + support + 0.5) as i64).min(i64::from(from));
            filter
                .push(first as usize, (first..end).map(|x| cubic((x as f64 - centre + 0.5) / filter_scale)).collect());
        }
        filter
    }

    /// Normalizes and rounds the weights of one output position.
    fn push(&mut self, first: usize, weights: Vec<f64>) {
        let sum: f64 = weights.iter().sum();
        let unit = f64::from(1_u32 << PRECISION_BITS);
        let start = self.weights.len();
        self.weights.extend(weights.iter().map(|weight| {
            let scaled = if sum == 0.0 { *weight } else { weight / sum } * unit;
            (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
        }));
        self.taps.push((first, start..self.weights.len()));
    }
}

/// The cubic convolution kernel with a = −0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// A fixed-point sum back to a sample.
fn to_sample(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Filters one row: `row` holds the source pixels, `out` takes the output pixels, both RGB.
pub(crate) fn across_rows(row: &[u8], out: &mut [u8], filter: &Filter) {
    let (pixels, _) = row.as_chunks::<3>();
    let (out, _) = out.as_chunks_mut::<3>();
    for (to, (first, range)) in out.iter_mut().zip(&filter.taps) {
        let weights = &filter.weights[range.clone()];
        let mut sums = [1_i32 << (PRECISION_BITS - 1); 3];
        for (pixel, weight) in pixels[*first..].iter().zip(weights) {
            for channel in 0..3 {
                sums[channel] += i32::from(pixel[channel]) * weight;
            }
        }
        *to = sums.map(to_sample);
    }
}

/// Filters along the columns: `row(y)` gives the source rows, each `width` RGB pixels. Returns `[height, width, 3]`.
pub(crate) fn down_columns<'a>(
    filter: &Filter,
    width: u32,
    height: u32,
    row: impl Fn(usize) -> &'a [u8] + Sync,
) -> Vec<u8> {
    let row_bytes = width as usize * 3;
    let mut data = vec![0_u8; row_bytes * height as usize];
    data.par_chunks_exact_mut(row_bytes).zip(&filter.taps).for_each_init(
        || vec![0_i32; row_bytes],
        |sums, (out, (first, range))| {
            sums.fill(1 << (PRECISION_BITS - 1));
            for (offset, weight) in filter.weights[range.clone()].iter().enumerate() {
                for (sum, sample) in sums.iter_mut().zip(row(first + offset)) {
                    *sum += i32::from(*sample) * weight;
                }
            }
            out.iter_mut().zip(sums.iter()).for_each(|(sample, sum)| *sample = to_sample(*sum));
        },
    );
    data
}

/// Resizes to `width × height` (a zero counts as 1) as PIL's `Image.resize(size, BICUBIC)` does for RGB images, bit for
/// bit: antialiased, in two 8-bit passes.
///
/// Source: Pillow's `Resample.c`; model.md section 7.
#[must_use]
pub fn resize_bicubic(image: &Rgb8, width: u32, height: u32) -> Rgb8 {
    let (width, height) = (width.max(1), height.max(1));
    let narrowed;
    let wide = if width == image.width {
        image
    } else {
        let filter = Filter::bicubic(image.width, width);
        let mut data = vec![0_u8; width as usize * image.height as usize * 3];
        data.par_chunks_exact_mut(width as usize * 3)
            .zip(image.data.par_chunks_exact(image.stride()))
            .for_each(|(out, row)| across_rows(row, out, &filter));
        narrowed = Rgb8 { width, height: image.height, data };
        &narrowed
    };
    if height == image.height {
        return wide.clone();
    }
    let filter = Filter::bicubic(image.height, height);
    let stride = wide.stride();
    let data = down_columns(&filter, width, height, |y| &wide.data[y * stride..(y + 1) * stride]);
    Rgb8 { width, height, data }
}
