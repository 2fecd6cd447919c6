//! Random tensors and comparisons shared by the tests of this crate.
#![allow(dead_code)]

use candle_core::{DType, Device, Shape, Tensor};

/// Standard-normal-like values from a seed: sums of uniform ones, enough for numeric tests.
pub(crate) fn random(seed: u64, shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| 2.0 * (uniform() + uniform() + uniform())).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// All values.
pub(crate) fn values(x: &Tensor) -> Vec<f32> {
    x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The bits of all values.
pub(crate) fn bits(x: &Tensor) -> Vec<u32> {
    values(x).iter().map(|v| v.to_bits()).collect()
}

/// Panics unless ‖a − b‖∞ ≤ tolerance·(‖b‖∞ + tiny).
pub(crate) fn assert_close(a: &Tensor, b: &Tensor, tolerance: f32) {
    assert_eq!(a.shape(), b.shape());
    let (a, b) = (values(a), values(b));
    let scale = b.iter().fold(1e-6_f32, |max, v| max.max(v.abs()));
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "at {i}: {a} is not {b} (scale {scale})");
    }
}
