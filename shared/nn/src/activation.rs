//! Activations.

use candle_core::{Result, Tensor};

/// GELU by the error function (MAR's MLPs).
///
/// # Errors
/// When the dtype has no such operation.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// GELU by its tanh approximation (SigLIP2).
///
/// # Errors
/// When the dtype has no such operation.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    x.gelu()
}

/// x·sigmoid(x), also called swish.
///
/// # Errors
/// When the dtype has no such operation.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    x.silu()
}
