//! How far ours may be from the published numbers, and how far it is.
//!
//! The bounds are those that came with the fixtures, for f32 on a CPU. Where we can hold more, we ask for more: the
//! schedule is arithmetic in f64 on both sides, so it has to agree as f64 does.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

/// What a comparison allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// max |ours − expected| at most this.
    Within(f64),
    /// max |ours − expected| at most this share of max |expected|, or `least`.
    Share {
        /// Of the largest expected value.
        share: f64,
        /// Allowed in any case.
        least: f64,
    },
    /// The same integers.
    Equal,
    /// 8-bit values at most one level apart.
    OneLevel,
    /// 8-bit values of a resized image: at most one level apart for 99.9 % of them, at most two for all.
    Resized,
}

/// A single part.
pub const PART: Bound = Bound::Within(1e-4);
/// Pixels of a single part.
pub const PIXELS: Bound = Bound::Within(5e-4);
/// What comes out of, or into, the later iterations of a whole flow.
pub const FLOW: Bound = Bound::Within(1e-3);
/// Gradients and their norms.
pub const GRADIENT: Bound = Bound::Share { share: 1e-3, least: 1e-5 };
/// Arithmetic in f64.
pub const SCHEDULE: Bound = Bound::Within(1e-9);

/// How far off a quantity is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// max |ours − expected|; infinite where a value is not a number.
    pub max_error: f64,
    /// Whether that is within the bound.
    pub passed: bool,
}

impl Bound {
    /// The bound in words of a table.
    pub fn label(self) -> String {
        match self {
            Self::Within(bound) => format!("{bound:.0e}"),
            Self::Share { share, least } => format!("{:.1} % or {least:.0e}", 100.0 * share),
            Self::Equal => "equal".into(),
            Self::OneLevel => "1 level".into(),
            Self::Resized => "1 level on 99.9 %, 2 on all".into(),
        }
    }

    /// Compares two tensors of one shape, value by value in f64.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn measure(self, ours: &Tensor, expected: &Tensor) -> Result<Measured> {
        ensure!(ours.dims() == expected.dims(), "ours has the shape {:?}, not {:?}", ours.dims(), expected.dims());
        let expected = values(expected)?;
        let scale = expected.iter().map(|value| value.abs()).fold(0.0, f64::max);
        let pairs = values(ours)?.into_iter().zip(expected);
        // A NaN would vanish in a maximum, so it counts as infinitely far off.
        let off = |(a, b): (f64, f64)| if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() };
        Ok(self.judge(&pairs.map(off).collect::<Vec<_>>(), scale))
    }

    /// Compares two lists of ids; the error is the number of places where they differ.
    pub fn measure_ids(ours: &[u32], expected: &[u32]) -> Measured {
        let differing = ours.iter().zip(expected).filter(|(a, b)| a != b).count();
        let n_differing = differing + ours.len().abs_diff(expected.len());
        Measured { max_error: n_differing as f64, passed: n_differing == 0 }
    }

    /// Judges the errors of values of which the largest expected one is `scale`.
    fn judge(self, errors: &[f64], scale: f64) -> Measured {
        let max_error = errors.iter().copied().fold(0.0, f64::max);
        let passed = match self {
            Self::Within(bound) => max_error <= bound,
            Self::Share { share, least } => max_error <= least.max(share * scale),
            Self::Equal => max_error == 0.0,
            Self::OneLevel => max_error <= 1.0,
            Self::Resized => {
                let beyond_one = errors.iter().filter(|e| **e > 1.0).count();
                max_error <= 2.0 && beyond_one * 1000 <= errors.len()
            }
        };
        Measured { max_error, passed }
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_value_that_is_no_number_never_passes() {
        let found = PART.measure(&tensor(&[0.0, f32::NAN]), &tensor(&[0.0, 0.0])).unwrap();
        assert_eq!(found, Measured { max_error: f64::INFINITY, passed: false });
        assert!(!PART.measure(&tensor(&[f32::NAN]), &tensor(&[f32::NAN])).unwrap().passed);
    }

    #[test]
    fn shapes_have_to_be_equal() {
        assert!(PART.measure(&tensor(&[0.0]), &tensor(&[0.0, 0.0])).is_err());
    }

    #[test]
    fn resized_images_may_have_few_values_two_levels_off() {
        let mut errors = vec![1.0; 2000];
        errors[..2].fill(2.0);
        assert!(Bound::Resized.judge(&errors, 0.0).passed);
        errors[2] = 2.0;
        assert!(!Bound::Resized.judge(&errors, 0.0).passed);
        errors[..3].fill(0.0);
        errors[0] = 3.0;
        assert!(!Bound::Resized.judge(&errors, 0.0).passed);
    }

    #[test]
    fn a_share_is_of_the_largest_expected_value() {
        let passes = |ours: &[f32]| GRADIENT.measure(&tensor(ours), &tensor(&[2.0, 0.0])).unwrap().passed;
        assert!(passes(&[2.001, 0.001]) && !passes(&[2.0, 0.003]) && !passes(&[f32::NAN, 0.0]));
        assert!(GRADIENT.measure(&tensor(&[9e-6]), &tensor(&[0.0])).unwrap().passed, "least");
    }

    #[test]
    fn ids_of_other_lengths_differ() {
        assert_eq!(Bound::measure_ids(&[1, 2], &[1]).max_error, 1.0);
        assert!(!Bound::measure_ids(&[], &[1]).passed);
        assert!(Bound::measure_ids(&[3, 4], &[3, 4]).passed);
    }
}
