//! Which places an iteration predicts.

use std::f64::consts::FRAC_PI_2;

/// One iteration of a generation: what is known before it, and what it makes known.
#[derive(Clone, Debug, PartialEq)]
pub struct Iteration {
    /// Its number k, from 0. Numbers of iterations that reveal nothing do not occur.
    pub index: usize,
    /// Guidance of its head steps.
    pub guidance: f32,
    /// Places of each image that are unknown before it.
    pub n_masked: usize,
    /// Places of each image that it makes known.
    pub n_revealed: usize,
    /// The places of every image.
    pub images: Vec<ImagePlaces>,
}

/// The places of one image in an iteration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePlaces {
    /// Known before it, in raster order.
    pub known: Vec<u32>,
    /// Made known by it, in raster order.
    pub reveal: Vec<u32>,
}

impl ImagePlaces {
    /// Splits an image's order, whose first `n_masked` places are unknown now and whose first `n_left` stay so.
    /// Places that an edit keeps stand at its end.
    pub(super) fn split(order: &[u32], n_masked: usize, n_left: usize) -> Self {
        let sorted = |places: &[u32]| {
            let mut places = places.to_vec();
            places.sort_unstable();
            places
        };
        Self { known: sorted(&order[n_masked..]), reveal: sorted(&order[n_left..n_masked]) }
    }
}

/// The published count of places that are masked after iteration k of S: max(1, min(masked − 1, ⌊N·cos(π/2·(k+1)/S)⌋)),
/// where N are the places to draw: all of them, or those that an edit with a mask redraws.
pub(super) fn n_masked_next(n_masked: usize, n_drawn: usize, index: usize, n_iterations: usize) -> usize {
    let share = (FRAC_PI_2 * (index + 1) as f64 / n_iterations as f64).cos();
    let scheduled = (n_drawn as f64 * share).floor() as usize;
    scheduled.min(n_masked.saturating_sub(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(n_places: usize, n_iterations: usize) -> Vec<usize> {
        let mut n_masked = n_places;
        let mut next = |index| {
            n_masked = n_masked_next(n_masked, n_places, index, n_iterations);
            n_masked
        };
        (0..n_iterations).map(&mut next).collect()
    }

    #[test]
    fn counts_follow_the_cosine() {
        assert_eq!(counts(16, 4), [14, 11, 6, 1]);
        assert_eq!(counts(4096, 1), [1]);
    }

    #[test]
    fn more_iterations_than_places_end_in_ones() {
        assert_eq!(counts(3, 6), [2, 1, 1, 1, 1, 1]);
        assert_eq!(counts(1, 2), [1, 1]);
    }
}
