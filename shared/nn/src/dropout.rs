//! Dropout with masks that are a function of an address.
//!
//! A shared generator would make a mask depend on what was drawn before it, and so on threads and on where a run was
//! resumed. Here a [`Dropout`] is a value: a share and a key, and from a key follow those of the places below it. The same
//! key gives the same mask, whatever else was computed.

use candle_core::{Device, Result, Tensor};

/// Zeroes a share of values, and scales the others so that the mean stays. For training alone: serving has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    /// How many of [`LEVELS`] draws are dropped.
    dropped: u32,
    key: u64,
}

/// Levels of a draw, 16 bits of it: the share is kept to within 1/131,072.
const LEVELS: u32 = 1 << 16;

/// Draws in 64 bits.
const LANES: usize = 4;

impl Dropout {
    /// Drops the share `rate`, from 0 to below 1, by masks that follow from `key`. None where nothing is dropped, and where
    /// `rate` is no such share.
    #[must_use]
    pub fn new(rate: f64, key: u64) -> Option<Self> {
        let dropped = (rate * f64::from(LEVELS)).round();
        (1.0..f64::from(LEVELS)).contains(&dropped).then_some(Self { dropped: dropped as u32, key })
    }

    /// The same share at a place below, whose masks have nothing to do with those of its neighbours.
    #[must_use]
    pub fn at(self, place: u64) -> Self {
        Self { key: mix(self.key ^ mix(place.wrapping_add(STEP))), ..self }
    }

    /// Shapes: any → the same, differentiable. The mask is made on the CPU, in the order of the values.
    ///
    /// # Errors
    /// When the device refuses the mask.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        let mask = Tensor::from_vec(self.mask(x.elem_count()), x.shape(), &Device::Cpu)?;
        x * mask.to_device(x.device())?.to_dtype(x.dtype())?
    }

    /// 0 for what is dropped, else the scale.
    fn mask(self, n: usize) -> Vec<f32> {
        let kept = f64::from(LEVELS) / f64::from(LEVELS - self.dropped);
        let factors = [kept as f32, 0.0];
        let mut mask = Vec::with_capacity(n.next_multiple_of(LANES));
        for block in 0..n.div_ceil(LANES) as u64 {
            let bits = mix(self.key.wrapping_add(STEP.wrapping_mul(block + 1)));
            let factor = |lane: usize| {
                let draw = (bits >> (16 * lane)) as u16;
                factors[usize::from(u32::from(draw) < self.dropped)]
            };
            mask.extend((0..LANES).map(factor));
        }
        mask.truncate(n);
        mask
    }
}

/// The step of splitmix64: 2^64 divided by the golden ratio, odd.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finalizer of splitmix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
