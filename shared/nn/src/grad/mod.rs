//! Fused operations that have a backward pass of their own, for training on a CPU.
//!
//! Composed of primitive operations, a norm or an attention is a dozen passes over memory and as many again backwards,
//! most of them on one thread, and candle's own backward of a convolution is a transposed convolution that takes
//! most of a training step. Here every operation is one node of the graph: its forward pass is the kernel that serving
//! uses, its backward pass recomputes what it needs from the inputs. Each is held against the reference by a test of its
//! value and of every gradient.

pub(crate) mod attention;
pub(crate) mod conv;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod pointwise;

use candle_core::{CpuStorage, Layout, Result, Tensor};

use crate::kernels::tensor::is_cpu_f32;

/// Whether all these go through the operations of this module.
pub(crate) fn takes<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> bool {
    tensors.into_iter().all(is_cpu_f32)
}

/// The values behind what an operation is handed.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("an operation takes contiguous f32 tensors on the CPU only, not {layout:?}"),
    }
}
