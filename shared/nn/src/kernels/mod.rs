//! CPU kernels of the inference form: f32, written once over vector lanes and compiled for each instruction set.
//!
//! The order in which a result is summed is fixed by its own inputs alone: never by how many rows, segments or threads
//! share the call. That is why these kernels stand here beside the general matrix product that candle uses, which picks
//! another summation for few rows and small outputs.

pub(crate) mod aligned;
pub(crate) mod attention;
pub(crate) mod backward;
pub(crate) mod conv;
pub(crate) mod lanes;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod packed;
pub(crate) mod panel;
pub(crate) mod pointwise;
pub(crate) mod softmax;
pub(crate) mod tensor;

use lanes::Lanes;

/// A computation that can be compiled for any lanes.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;

    /// Runs it. Implementations are `inline(always)`, so that they are compiled with the caller's instruction set.
    fn run<L: Lanes>(self) -> Self::Output;
}

/// Runs a kernel on the widest lanes of this machine.
#[cfg(target_arch = "x86_64")]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2") {
        // SAFETY: the instruction set was detected above.
        unsafe { run_avx512(kernel) }
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the instruction set was detected above.
        unsafe { run_avx2(kernel) }
    } else {
        kernel.run::<lanes::Portable>()
    }
}

/// Runs a kernel on the widest lanes of this machine.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<lanes::Portable>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<lanes::Avx512>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<lanes::Avx2>()
}
