//! Exponentials and what is made of them, in a form that vectorizes.

use super::lanes::Lanes;

/// e^x to about 2 units in the last place; 0 below −87.3, infinite above 88.3, NaN of NaN.
///
/// Range reduction to [−ln 2/2, ln 2/2] and Cephes' polynomial of degree 6.
#[inline(always)]
pub(crate) fn exp<L: Lanes>(x: f32) -> f32 {
    // Adding 1.5·2²³ rounds to the nearest integer, which then stands in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    let shifted = L::fused(x, std::f32::consts::LOG2_E, ROUNDER);
    let n = shifted - ROUNDER;
    let r = L::fused(n, -0.693_359_4, x);
    let r = L::fused(n, 2.121_944_4e-4, r);
    let p = L::fused(1.987_569_2e-4, r, 1.398_2e-3);
    let p = L::fused(p, r, 8.333_452e-3);
    let p = L::fused(p, r, 4.166_579_6e-2);
    let p = L::fused(p, r, 1.666_666_5e-1);
    let p = L::fused(p, r, 5.000_000_1e-1);
    let y = L::fused(p, r * r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    let y = y * power;
    let y = if x < -87.3 { 0.0 } else { y };
    if x > 88.3 { f32::INFINITY } else { y }
}

/// x·sigmoid(x).
#[inline(always)]
pub(crate) fn silu<L: Lanes>(x: f32) -> f32 {
    x / (1.0 + exp::<L>(-x))
}
