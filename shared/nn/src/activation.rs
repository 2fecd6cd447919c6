//! Activations.
//!
//! These have no [`Ops`](crate::Ops) of their own: where no gradient is recorded, f32 on CPU goes through vectorized
//! kernels on all threads, and everything else through candle's operations.

use candle_core::{Result, Tensor};

use crate::kernels::pointwise::{self, Function};
use crate::kernels::tensor::{is_cpu_f32, values};

/// GELU by the error function (MAR's MLPs).
///
/// # Errors
/// When the dtype has no such operation.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    if is_plain(x) { map(Function::GeluErf, x) } else { x.gelu_erf() }
}

/// GELU by its tanh approximation (SigLIP2).
///
/// # Errors
/// When the dtype has no such operation.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    if is_plain(x) { map(Function::GeluTanh, x) } else { x.gelu() }
}

/// x·sigmoid(x), also called swish.
///
/// # Errors
/// When the dtype has no such operation.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    if is_plain(x) { map(Function::Silu, x) } else { x.silu() }
}

/// silu(gate)·up (Qwen2.5's MLPs), in one pass over memory.
///
/// Shapes: `gate` and `up` alike → the same.
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !(is_plain(gate) && is_plain(up) && gate.dims() == up.dims()) {
        return gate.silu()? * up;
    }
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    let ((gate_storage, gate_layout), (up_storage, up_layout)) = (gate.storage_and_layout(), up.storage_and_layout());
    let mut out = vec![0.0; gate.elem_count()];
    pointwise::swiglu(values(&gate_storage, gate_layout)?, values(&up_storage, up_layout)?, &mut out);
    Tensor::from_vec(out, gate.shape(), gate.device())
}

fn is_plain(x: &Tensor) -> bool {
    is_cpu_f32(x) && !x.track_op()
}

fn map(function: Function, x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let mut out = vec![0.0; x.elem_count()];
    pointwise::map(function, values(&storage, layout)?, &mut out);
    Tensor::from_vec(out, x.shape(), x.device())
}
