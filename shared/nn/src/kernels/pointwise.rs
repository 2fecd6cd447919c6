//! Functions of single values, in a form that vectorizes, and their maps over big matrices.

use rayon::prelude::*;

use super::lanes::Lanes;
use super::{Kernel, dispatch};

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
    let p = L::fused(p, r, 0.5);
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

/// GELU by its tanh approximation, as x·sigmoid(2u): ½(1 + tanh u) is sigmoid(2u).
#[inline(always)]
fn gelu_tanh<L: Lanes>(x: f32) -> f32 {
    const TWICE_ROOT: f32 = 1.595_769; // 2·√(2/π)
    x / (1.0 + exp::<L>(-TWICE_ROOT * L::fused(0.044_715 * x * x, x, x)))
}

/// GELU by the error function, itself by a rational approximation (as in Eigen) up to where it is ±1 in f32.
#[inline(always)]
pub(crate) fn gelu_erf<L: Lanes>(x: f32) -> f32 {
    const END: f32 = 3.92;
    let y = x * std::f32::consts::FRAC_1_SQRT_2;
    let z = y * y;
    let p = L::fused(z, -2.726_142_3e-10, 2.770_681_4e-8);
    let p = L::fused(p, z, -2.101_024e-6);
    let p = L::fused(p, z, -5.692_506_4e-5);
    let p = L::fused(p, z, -7.349_906_3e-4);
    let p = L::fused(p, z, -2.954_6e-3);
    let p = L::fused(p, z, -1.609_603_3e-2);
    let q = L::fused(z, -1.456_607_2e-5, -2.133_740_6e-4);
    let q = L::fused(q, z, -1.682_827e-3);
    let q = L::fused(q, z, -7.373_329e-3);
    let q = L::fused(q, z, -1.426_473_9e-2);
    let erf = y * p / q;
    let erf = if y > END { 1.0 } else { erf };
    let erf = if y < -END { -1.0 } else { erf };
    0.5 * x * (1.0 + erf)
}

/// A function of single values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// x·sigmoid(x), also called swish.
    Silu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// GELU by the error function.
    GeluErf,
}

/// The function of every value, in place.
#[inline(always)]
pub(crate) fn apply<L: Lanes>(function: Function, values: &mut [f32]) {
    match function {
        Function::Silu => values.iter_mut().for_each(|x| *x = silu::<L>(*x)),
        Function::GeluTanh => values.iter_mut().for_each(|x| *x = gelu_tanh::<L>(*x)),
        Function::GeluErf => values.iter_mut().for_each(|x| *x = gelu_erf::<L>(*x)),
    }
}

/// Values of a task.
const TASK: usize = 1 << 14;

/// The function of every value.
pub(crate) fn map(function: Function, x: &[f32], out: &mut [f32]) {
    let task = |(x, out): (&[f32], &mut [f32])| dispatch(Map { function, x, out });
    match x.len() <= TASK {
        true => task((x, out)),
        false => x.par_chunks(TASK).zip(out.par_chunks_mut(TASK)).for_each(task),
    }
}

struct Map<'a> {
    function: Function,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        self.out.copy_from_slice(self.x);
        apply::<L>(self.function, self.out);
    }
}

/// x + y of every pair of values.
pub(crate) fn add(x: &[f32], y: &[f32]) -> Vec<f32> {
    let mut sums = x.to_vec();
    let task = |(sums, y): (&mut [f32], &[f32])| sums.iter_mut().zip(y).for_each(|(sum, y)| *sum += y);
    match x.len() <= TASK {
        true => task((&mut sums, y)),
        false => sums.par_chunks_mut(TASK).zip(y.par_chunks(TASK)).for_each(task),
    }
    sums
}

/// silu(gate)·up of every pair of values.
pub(crate) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let task = |((gate, up), out): ((&[f32], &[f32]), &mut [f32])| dispatch(Swiglu { gate, up, out });
    match out.len() <= TASK {
        true => task(((gate, up), out)),
        false => gate.par_chunks(TASK).zip(up.par_chunks(TASK)).zip(out.par_chunks_mut(TASK)).for_each(task),
    }
}

struct Swiglu<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Swiglu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let inputs = self.gate.iter().zip(self.up);
        self.out.iter_mut().zip(inputs).for_each(|(out, (&gate, &up))| *out = silu::<L>(gate) * up);
    }
}

/// Rotates the halves of every head: (a, b) → (a·cos − b·sin, b·cos + a·sin).
///
/// Shapes: `x` and `out` `[T, width]`, `cos` and `sin` `[T, half]`; a head is two halves wide.
pub(crate) fn rotate(x: &[f32], (cos, sin): (&[f32], &[f32]), (width, half): (usize, usize), out: &mut [f32]) {
    assert!(half > 0 && width > 0 && width.is_multiple_of(2 * half) && x.len() == out.len());
    assert!(cos.len() == sin.len() && x.len() / width * half == cos.len());
    let row = |(((x, out), cos), sin)| dispatch(Rotate { x, cos, sin, out });
    if x.len() <= TASK {
        let pairs = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
        pairs.zip(cos.chunks_exact(half)).zip(sin.chunks_exact(half)).for_each(row);
    } else {
        let pairs = x.par_chunks_exact(width).zip(out.par_chunks_exact_mut(width));
        pairs.zip(cos.par_chunks_exact(half)).zip(sin.par_chunks_exact(half)).for_each(row);
    }
}

struct Rotate<'a> {
    x: &'a [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let half = self.cos.len();
        for (x, out) in self.x.chunks_exact(2 * half).zip(self.out.chunks_exact_mut(2 * half)) {
            let ((a, b), (first, second)) = (x.split_at(half), out.split_at_mut(half));
            for (i, (first, second)) in first.iter_mut().zip(second).enumerate() {
                *first = a[i] * self.cos[i] - b[i] * self.sin[i];
                *second = b[i] * self.cos[i] + a[i] * self.sin[i];
            }
        }
    }
}
