//! Vectors of f32 as the kernels see them.

/// A vector register of f32.
///
/// The methods use instructions that the caller has established (see [`super::dispatch`]); they are `inline(always)` and
/// only ever run inside a function compiled for them.
pub(crate) trait Lanes: Copy + Send + Sync {
    /// Values in a vector: a divisor of 16.
    const N: usize;
    /// Vectors a block of six rows can hold in registers, per row.
    const COLUMNS: usize;

    /// The same value everywhere.
    fn splat(value: f32) -> Self;

    /// Loads [`Lanes::N`] values.
    ///
    /// # Safety
    /// `from` must be readable for that many.
    unsafe fn load(from: *const f32) -> Self;

    /// Stores [`Lanes::N`] values.
    ///
    /// # Safety
    /// `to` must be writable for that many.
    unsafe fn store(self, to: *mut f32);

    /// self·b + c, rounded once where the machine can.
    fn mul_add(self, b: Self, c: Self) -> Self;

    /// a·b + c of single values, rounded as [`Lanes::mul_add`] does.
    fn fused(a: f32, b: f32, c: f32) -> f32;
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Lanes;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    impl Lanes for Avx512 {
        const N: usize = 16;
        const COLUMNS: usize = 4;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: only run where AVX-512F was detected.
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller's.
            Self(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller's.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: only run where AVX-512F was detected.
            Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
        }

        #[inline(always)]
        fn fused(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);

    impl Lanes for Avx2 {
        const N: usize = 8;
        const COLUMNS: usize = 2;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: only run where AVX2 was detected.
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller's.
            Self(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller's.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: only run where FMA was detected.
            Self(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
        }

        #[inline(always)]
        fn fused(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }
}

/// Lanes for every other machine, left to the compiler's own vectorization.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Lanes for Portable {
    const N: usize = 8;
    const COLUMNS: usize = 2;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's; the read is unaligned.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's; the write is unaligned.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| Self::fused(self.0[i], b.0[i], c.0[i])))
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        // A fused product is one instruction on aarch64, and a slow library call on plain x86-64.
        if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
    }
}
