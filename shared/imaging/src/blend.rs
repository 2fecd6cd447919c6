//! A redrawn picture laid into the one it was made of.

use crate::{ImageError, Mask, Rgb8};

/// The weight of a pixel that is redrawn whole.
const WHOLE: u8 = u8::MAX;

/// A source and how much of each of its pixels a redrawn picture takes over. What a mask does not mark is the source's,
/// bit for bit.
#[derive(Debug, Clone)]
pub struct Blend {
    source: Rgb8,
    /// Per pixel the share of the redrawn picture, of 255.
    weights: Vec<u8>,
}

impl Blend {
    /// Lays pictures into `source` where `mask` is marked. Within `feather` pixels of what is not marked they begin as the
    /// source and become themselves: at distance d their share is d / (feather + 1). The image's own edge is no seam.
    ///
    /// # Errors
    /// [`ImageError::OtherSize`] when the mask has another size than the source.
    pub fn new(source: Rgb8, mask: &Mask, feather: u32) -> Result<Self, ImageError> {
        same_size((source.width, source.height), (mask.width(), mask.height()))?;
        let weights = match feather {
            0 => mask.pixels().iter().map(|is_marked| if *is_marked { WHOLE } else { 0 }).collect(),
            _ => squared_distances(mask).into_iter().map(|squared| weight(squared, feather)).collect(),
        };
        Ok(Self { source, weights })
    }

    /// The source with the redrawn picture laid in.
    ///
    /// # Errors
    /// [`ImageError::OtherSize`] when the picture has another size than the source.
    pub fn lay(&self, mut drawn: Rgb8) -> Result<Rgb8, ImageError> {
        same_size((self.source.width, self.source.height), (drawn.width, drawn.height))?;
        let (sources, _) = self.source.data.as_chunks::<3>();
        let (pixels, _) = drawn.data.as_chunks_mut::<3>();
        for ((pixel, source), weight) in pixels.iter_mut().zip(sources).zip(&self.weights) {
            match *weight {
                0 => *pixel = *source,
                WHOLE => {}
                weight => {
                    pixel.iter_mut().zip(source).for_each(|(drawn, source)| *drawn = mix(*source, *drawn, weight))
                }
            }
        }
        Ok(drawn)
    }
}

fn same_size(wanted: (u32, u32), got: (u32, u32)) -> Result<(), ImageError> {
    if wanted == got { Ok(()) } else { Err(ImageError::OtherSize { wanted, got }) }
}

/// `source·(255 − weight) + drawn·weight`, in 255ths, rounded.
fn mix(source: u8, drawn: u8, weight: u8) -> u8 {
    let [source, drawn, weight] = [source, drawn, weight].map(u32::from);
    ((source * (255 - weight) + drawn * weight + 127) / 255) as u8
}

fn weight(squared: f64, feather: u32) -> u8 {
    let share = squared.sqrt() / (f64::from(feather) + 1.0);
    (share.min(1.0) * f64::from(WHOLE)).round() as u8
}

/// Of each pixel the squared Euclidean distance to the nearest one that is not marked, in pixels; infinite where there is
/// none.
///
/// Source: Felzenszwalb and Huttenlocher, Distance Transforms of Sampled Functions, 2012: exact, and linear in the pixels.
fn squared_distances(mask: &Mask) -> Vec<f64> {
    let (width, height) = (mask.width() as usize, mask.height() as usize);
    let mut grid: Vec<f64> =
        mask.pixels().iter().map(|is_marked| if *is_marked { f64::INFINITY } else { 0.0 }).collect();
    let mut column = vec![0.0; height];
    for x in 0..width {
        column.iter_mut().zip(grid.iter().skip(x).step_by(width)).for_each(|(to, from)| *to = *from);
        let along = lower_envelope(&column);
        grid.iter_mut().skip(x).step_by(width).zip(along).for_each(|(to, from)| *to = from);
    }
    grid.chunks_exact(width).flat_map(lower_envelope).collect()
}

/// For every position p the least of `(p − q)² + heights[q]`: the lower envelope of parabolas that stand at the positions.
fn lower_envelope(heights: &[f64]) -> Vec<f64> {
    // Parabolas of the envelope from left to right, each with where it begins to be the lowest.
    let mut lowest: Vec<(usize, f64)> = Vec::new();
    for (q, height) in heights.iter().enumerate().filter(|(_, height)| height.is_finite()) {
        let mut begins = f64::NEG_INFINITY;
        while let Some(&(other, its_begin)) = lowest.last() {
            begins = crossing((other, heights[other]), (q, *height));
            if begins > its_begin {
                break;
            }
            lowest.pop();
            begins = f64::NEG_INFINITY;
        }
        lowest.push((q, begins));
    }
    let mut current = 0;
    let at = |p: usize| {
        while lowest.get(current + 1).is_some_and(|(_, begins)| *begins <= p as f64) {
            current += 1;
        }
        lowest.get(current).map_or(f64::INFINITY, |(q, _)| (p as f64 - *q as f64).powi(2) + heights[*q])
    };
    (0..heights.len()).map(at).collect()
}

/// Where the parabola further right becomes the lower one.
fn crossing((p, low): (usize, f64), (q, high): (usize, f64)) -> f64 {
    let (p, q) = (p as f64, q as f64);
    ((high + q * q) - (low + p * p)) / (2.0 * (q - p))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source and drawn pictures without a colour in common.
    fn pictures(width: u32, height: u32) -> (Rgb8, Rgb8) {
        let samples = |from: u32| (0..width * height * 3).map(|i| (from + i % 90) as u8).collect();
        (Rgb8 { width, height, data: samples(0) }, Rgb8 { width, height, data: samples(150) })
    }

    #[test]
    fn without_a_feather_each_pixel_is_one_or_the_other() {
        let (source, drawn) = pictures(7, 5);
        let mask = Mask::new(7, 5, |x, y| x > 2 && y != 3);
        let laid = Blend::new(source.clone(), &mask, 0).unwrap().lay(drawn.clone()).unwrap();
        for (i, is_marked) in mask.pixels().iter().enumerate() {
            let from = if *is_marked { &drawn } else { &source };
            assert_eq!(laid.data[i * 3..][..3], from.data[i * 3..][..3]);
        }
    }

    #[test]
    fn a_feather_touches_nothing_outside_and_fades_in_inside() {
        let source = Rgb8::filled(12, 3, [0; 3]);
        let drawn = Rgb8::filled(12, 3, [240; 3]);
        let mask = Mask::new(12, 3, |x, _| x >= 4);
        let laid = Blend::new(source, &mask, 3).unwrap().lay(drawn).unwrap();
        let row: Vec<u8> = laid.data.chunks(3).take(12).map(|pixel| pixel[0]).collect();
        assert_eq!(row, [0, 0, 0, 0, 60, 120, 180, 240, 240, 240, 240, 240]);
    }

    #[test]
    fn distances_are_those_to_the_nearest_unmarked_pixel() {
        let mut random = 7_u32;
        let mut coin = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random >> 28 != 0
        };
        let marks: Vec<bool> = (0..19 * 13).map(|_| coin()).collect();
        let mask = Mask::new(19, 13, |x, y| marks[(y * 19 + x) as usize]);
        let at = |i: usize| ((i % 19) as f64, (i / 19) as f64);
        for (i, squared) in squared_distances(&mask).into_iter().enumerate() {
            let (x, y) = at(i);
            let unmarked = marks.iter().enumerate().filter(|(_, is_marked)| !**is_marked).map(|(j, _)| at(j));
            let nearest = unmarked.map(|(u, v)| (x - u).powi(2) + (y - v).powi(2)).fold(f64::INFINITY, f64::min);
            assert_eq!(squared, nearest, "pixel {i}");
        }
    }

    #[test]
    fn a_mask_of_everything_gives_the_drawn_picture_feathered_or_not() {
        let (source, drawn) = pictures(6, 6);
        for feather in [0, 5] {
            let blend = Blend::new(source.clone(), &Mask::new(6, 6, |_, _| true), feather).unwrap();
            assert_eq!(blend.lay(drawn.clone()).unwrap().data, drawn.data);
        }
    }

    #[test]
    fn other_sizes_are_refused() {
        let (source, _) = pictures(6, 6);
        assert!(Blend::new(source.clone(), &Mask::new(6, 5, |_, _| true), 0).is_err());
        let blend = Blend::new(source, &Mask::new(6, 6, |_, _| true), 0).unwrap();
        let error = blend.lay(Rgb8::filled(4, 9, [0; 3])).unwrap_err().to_string();
        assert!(error.contains("4x9") && error.contains("6x6"), "{error}");
    }
}
