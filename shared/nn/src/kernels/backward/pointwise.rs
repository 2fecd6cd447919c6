//! Functions of single values, backwards, and the diffusion head's modulation both ways.

use rayon::prelude::*;

use crate::kernels::lanes::Lanes;
use crate::kernels::pointwise::{Function, exp, gelu_erf, silu};
use crate::kernels::{Kernel, dispatch};

/// Values of a task.
const TASK: usize = 1 << 14;

/// The slope of silu.
#[inline(always)]
pub(crate) fn silu_slope<L: Lanes>(x: f32) -> f32 {
    let sigmoid = 1.0 / (1.0 + exp::<L>(-x));
    sigmoid * L::fused(x, 1.0 - sigmoid, 1.0)
}

/// The slope of GELU by tanh, which is x·sigmoid(2u(x)).
#[inline(always)]
fn gelu_tanh_slope<L: Lanes>(x: f32) -> f32 {
    const TWICE_ROOT: f32 = 1.595_769;
    let sigmoid = 1.0 / (1.0 + exp::<L>(-TWICE_ROOT * L::fused(0.044_715 * x * x, x, x)));
    let inner = TWICE_ROOT * L::fused(3.0 * 0.044_715 * x, x, 1.0);
    sigmoid * L::fused(x * inner, 1.0 - sigmoid, 1.0)
}

/// The slope of GELU by the error function: Φ(x) + x·φ(x). Φ is taken from the function itself where that can be divided
/// by x.
#[inline(always)]
fn gelu_erf_slope<L: Lanes>(x: f32) -> f32 {
    const ROOT: f32 = 0.398_942_3; // 1/√(2π)
    let far = if x.abs() < 1e-3 { 1e-3 } else { x };
    let cdf = gelu_erf::<L>(far) / far;
    let cdf = if x.abs() < 1e-3 { L::fused(ROOT, x, 0.5) } else { cdf };
    L::fused(x * ROOT, exp::<L>(-0.5 * x * x), cdf)
}

/// `grad` times the function's slope at `x`.
pub(crate) fn map(function: Function, x: &[f32], grad: &[f32], out: &mut [f32]) {
    assert!(x.len() == grad.len() && x.len() == out.len());
    let tasks = x.par_chunks(TASK).zip(grad.par_chunks(TASK)).zip(out.par_chunks_mut(TASK));
    tasks.for_each(|((x, grad), out)| dispatch(Map { function, x, grad, out }));
}

struct Map<'a> {
    function: Function,
    x: &'a [f32],
    grad: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let values = self.out.iter_mut().zip(self.x.iter().zip(self.grad));
        match self.function {
            Function::Silu => values.for_each(|(out, (&x, grad))| *out = grad * silu_slope::<L>(x)),
            Function::GeluTanh => values.for_each(|(out, (&x, grad))| *out = grad * gelu_tanh_slope::<L>(x)),
            Function::GeluErf => values.for_each(|(out, (&x, grad))| *out = grad * gelu_erf_slope::<L>(x)),
        }
    }
}

/// Gradients of gate and up in silu(gate)·up.
pub(crate) fn swiglu(gate: &[f32], up: &[f32], grad: &[f32], (of_gate, of_up): (&mut [f32], &mut [f32])) {
    assert!(gate.len() == up.len() && up.len() == grad.len());
    let inputs = gate.par_chunks(TASK).zip(up.par_chunks(TASK)).zip(grad.par_chunks(TASK));
    let outputs = of_gate.par_chunks_mut(TASK).zip(of_up.par_chunks_mut(TASK));
    inputs.zip(outputs).for_each(|(((gate, up), grad), (of_gate, of_up))| {
        dispatch(Swiglu { gate, up, grad, of_gate, of_up });
    });
}

struct Swiglu<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    grad: &'a [f32],
    of_gate: &'a mut [f32],
    of_up: &'a mut [f32],
}

impl Kernel for Swiglu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for i in 0..self.grad.len() {
            self.of_gate[i] = self.grad[i] * self.up[i] * silu_slope::<L>(self.gate[i]);
            self.of_up[i] = self.grad[i] * silu::<L>(self.gate[i]);
        }
    }
}

/// x·(1 + scale) + shift, where a row of `modulation` begins with shift and scale.
///
/// Shapes: `x` `[T, width]`, `modulation` `[T, columns]`.
pub(crate) fn modulate(x: &[f32], modulation: &[f32], (width, columns): (usize, usize), out: &mut [f32]) {
    let rows = x.par_chunks(width).zip(modulation.par_chunks(columns)).zip(out.par_chunks_mut(width));
    rows.with_min_len(16).for_each(|((x, modulation), out)| {
        let (shift, scale) = modulation.split_at(width);
        for (i, out) in out.iter_mut().enumerate() {
            *out = x[i] * (1.0 + scale[i]) + shift[i];
        }
    });
}

/// Gradients of x and the modulation in [`modulate`]; columns behind shift and scale get none.
pub(crate) fn modulate_backward(
    (x, modulation, grad): (&[f32], &[f32], &[f32]),
    (width, columns): (usize, usize),
    (of_x, of_modulation): (&mut [f32], &mut [f32]),
) {
    let inputs = x.par_chunks(width).zip(modulation.par_chunks(columns)).zip(grad.par_chunks(width));
    let outputs = of_x.par_chunks_mut(width).zip(of_modulation.par_chunks_mut(columns));
    inputs.zip(outputs).with_min_len(16).for_each(|(((x, modulation), grad), (of_x, of_modulation))| {
        let scale = &modulation[width..2 * width];
        let (of_shift, rest) = of_modulation.split_at_mut(width);
        of_shift.copy_from_slice(grad);
        for i in 0..width {
            of_x[i] = grad[i] * (1.0 + scale[i]);
            rest[i] = grad[i] * x[i];
        }
    });
}

/// x + gate·h, where the gate is the third part of a row of `modulation`.
///
/// Shapes: `x` and `h` `[T, width]`, `modulation` `[T, 3·width]`.
pub(crate) fn gate(x: &[f32], h: &[f32], modulation: &[f32], width: usize, out: &mut [f32]) {
    let rows = x.par_chunks(width).zip(h.par_chunks(width)).zip(modulation.par_chunks(3 * width));
    rows.zip(out.par_chunks_mut(width)).with_min_len(16).for_each(|(((x, h), modulation), out)| {
        let gate = &modulation[2 * width..];
        for (i, out) in out.iter_mut().enumerate() {
            *out = x[i] + gate[i] * h[i];
        }
    });
}

/// Gradients of h and the modulation in [`gate`]; that of x is the result's.
pub(crate) fn gate_backward(
    (h, modulation, grad): (&[f32], &[f32], &[f32]),
    width: usize,
    (of_h, of_modulation): (&mut [f32], &mut [f32]),
) {
    let inputs = h.par_chunks(width).zip(modulation.par_chunks(3 * width)).zip(grad.par_chunks(width));
    let outputs = of_h.par_chunks_mut(width).zip(of_modulation.par_chunks_mut(3 * width));
    inputs.zip(outputs).with_min_len(16).for_each(|(((h, modulation), grad), (of_h, of_modulation))| {
        let gate = &modulation[2 * width..];
        for i in 0..width {
            of_h[i] = grad[i] * gate[i];
            of_modulation[2 * width + i] = grad[i] * h[i];
        }
    });
}
