//! From tensors to slices and back.

use std::marker::PhantomData;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor};

/// Whether the kernels take this tensor.
pub(crate) fn is_cpu_f32(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && x.device().is_cpu()
}

/// The values of a contiguous f32 tensor on the CPU, from what [`Tensor::storage_and_layout`] gives.
///
/// # Errors
/// When the tensor is not contiguous f32 on the CPU.
pub(crate) fn values<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("a kernel takes contiguous f32 tensors on the CPU only, not {layout:?}"),
    }
}

/// Rows of a matrix that several threads write, each to columns or rows of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer is only written through `slice`, whose caller keeps the ranges of different threads apart.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Lends out all of `values`.
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), borrowed: PhantomData }
    }

    /// The values from `start` on.
    ///
    /// # Safety
    /// No two slices that overlap may live at the same time.
    #[inline(always)]
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start + len <= self.len);
        // SAFETY: inside the lent range, and disjoint from every other slice by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
