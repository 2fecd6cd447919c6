//! Activations.
//!
//! These have no [`Ops`](crate::Ops) of their own: f32 on CPU goes through vectorized kernels on all threads, which have a
//! backward pass where a gradient is recorded, and everything else through candle's operations.

use candle_core::{Result, Tensor};

use crate::grad;
use crate::kernels::pointwise;
pub use crate::kernels::pointwise::Function;
use crate::kernels::tensor::{is_cpu_f32, values};

/// GELU by the error function (MAR's MLPs).
///
/// # Errors
/// When the dtype has no such operation.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    map(Function::GeluErf, x)
}

/// GELU by its tanh approximation (SigLIP2).
///
/// # Errors
/// When the dtype has no such operation.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    map(Function::GeluTanh, x)
}

/// x·sigmoid(x), also called swish.
///
/// # Errors
/// When the dtype has no such operation.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    map(Function::Silu, x)
}

/// silu(gate)·up (Qwen2.5's MLPs), in one pass over memory.
///
/// Shapes: `gate` and `up` alike → the same.
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !(is_cpu_f32(gate) && is_cpu_f32(up) && gate.dims() == up.dims()) {
        return gate.silu()? * up;
    }
    grad::pointwise::swiglu(gate, up)
}

/// x·(1 + scale) + shift, the shift and scale at the beginning of each row of `modulation` (the diffusion head).
///
/// Shapes: `x` `[T, width]`, `modulation` `[T, at least 2·width]` → `[T, width]`.
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn modulate(x: &Tensor, modulation: &Tensor) -> Result<Tensor> {
    if is_cpu_f32(x) && is_cpu_f32(modulation) {
        return grad::pointwise::modulate(x, modulation);
    }
    let width = x.dim(1)?;
    let (shift, scale) = (modulation.narrow(1, 0, width)?, modulation.narrow(1, width, width)?);
    (x * (scale + 1.0)?)? + shift
}

/// x + gate·h, the gate in the third part of each row of `modulation` (the diffusion head).
///
/// Shapes: `x` and `h` `[T, width]`, `modulation` `[T, 3·width]` → `[T, width]`.
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn gate(x: &Tensor, h: &Tensor, modulation: &Tensor) -> Result<Tensor> {
    if is_cpu_f32(x) && is_cpu_f32(h) && is_cpu_f32(modulation) {
        return grad::pointwise::gate(x, h, modulation);
    }
    let width = x.dim(1)?;
    x + (modulation.narrow(1, 2 * width, width)? * h)?
}

/// x + y of the same shape. candle adds large matrices on threads of its own, which spin beside ours and take their
/// processors; where no gradient is recorded this stays on ours.
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if !(is_cpu_f32(x) && is_cpu_f32(y) && x.dims() == y.dims()) || x.track_op() || y.track_op() {
        return x + y;
    }
    let (x, y) = (x.contiguous()?, y.contiguous()?);
    let ((x_storage, x_layout), (y_storage, y_layout)) = (x.storage_and_layout(), y.storage_and_layout());
    let sums = pointwise::add(values(&x_storage, x_layout)?, values(&y_storage, y_layout)?);
    Tensor::from_vec(sums, x.shape(), x.device())
}

/// A function of every value.
///
/// # Errors
/// When the dtype has no such operation.
pub fn map(function: Function, x: &Tensor) -> Result<Tensor> {
    if is_cpu_f32(x) {
        return grad::pointwise::map(function, x);
    }
    match function {
        Function::Silu => x.silu(),
        Function::GeluTanh => x.gelu(),
        Function::GeluErf => x.gelu_erf(),
    }
}
