//! A packed batch taken apart again, for the processors.
//!
//! Sequences of a batch need nothing of each other. On several threads a batch can therefore be computed operation by
//! operation, each shared out by its rows, or sequence by sequence, each thread taking its own through all layers. The
//! first has all threads wait for each other after every operation and for what is not shared out; the second has every
//! thread read all weights. So a batch is divided where a share has rows enough to be worth a reading: few where the weights
//! lie in a cache anyway. What is computed within a share is still shared out where a thread has nothing to do.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use crate::{Build, LinearFormat, Ops};

/// Weights that stay in a processor's caches: 16 MiB of them.
const IN_CACHE: usize = 1 << 22;
/// Rows for which reading them from there is worth it.
const LEAST_ROWS: usize = 4;
/// Rows whose values stay near a processor while the layers go over them. More bring nothing, since the weights are near.
const MOST_ROWS: usize = 256;
/// Rows for which reading weights from memory is worth it: then the multiplications take several times as long.
const LEAST_ROWS_FROM_MEMORY: usize = 128;

/// How a stack of layers divides its batches.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Rows of a share, about; none where batches stay whole.
    rows: Option<(usize, usize)>,
}

impl Shares {
    /// For layers of `n_weights` in all, built so. Batches stay whole but on the CPU, for inference with dense weights: devices
    /// have a scheduling of their own, and candle's quantized product has threads of its own.
    pub fn new(build: &Build, n_weights: usize) -> Self {
        let is_dense = build.linear_format == LinearFormat::Dense && build.tensors.dtype() == DType::F32;
        let rows = match build.ops == Ops::Inference && build.device().is_cpu() && is_dense {
            false => None,
            true if n_weights <= IN_CACHE => Some((LEAST_ROWS, MOST_ROWS)),
            true => Some((LEAST_ROWS_FROM_MEMORY, usize::MAX)),
        };
        Self { rows }
    }

    /// `work` on all items, each with as many rows of `x` as `n_rows` says, in one call or in several at the same time; and
    /// their results one behind the other.
    ///
    /// Shapes: `x` `[T, …]`, T the items' rows → what `work` gives for its rows, joined along the first axis.
    ///
    /// # Errors
    /// The first that `work` gives. Others may have run on.
    pub fn run<T: Send>(
        self,
        items: &mut [T],
        n_rows: impl Fn(&T) -> usize,
        x: &Tensor,
        work: impl Fn(&mut [T], &Tensor) -> Result<Tensor> + Sync,
    ) -> Result<Tensor> {
        let lengths: Vec<usize> = items.iter().map(n_rows).collect();
        let shares = self.divide(&lengths);
        if shares.len() < 2 {
            return work(items, x);
        }
        let (mut rest, mut first, mut parts) = (items, 0, Vec::with_capacity(shares.len()));
        for share in shares {
            let n: usize = lengths[share.clone()].iter().sum();
            let (own, others) = rest.split_at_mut(share.len());
            parts.push((own, x.narrow(0, first, n)?));
            (rest, first) = (others, first + n);
        }
        let done = parts.into_par_iter().map(|(items, x)| work(items, &x));
        Tensor::cat(&done.collect::<Result<Vec<_>>>()?, 0)
    }

    /// Which items stay together.
    fn divide(self, lengths: &[usize]) -> Vec<Range<usize>> {
        let total: usize = lengths.iter().sum();
        let Some((least, most)) = self.rows else { return std::iter::once(0..lengths.len()).collect() };
        let wanted = total.div_ceil(rayon::current_num_threads()).min(most).max(least);
        let (mut shares, mut first, mut n) = (Vec::new(), 0, 0);
        for (i, length) in lengths.iter().enumerate() {
            n += length;
            // A remainder too small for a share stays with the last one.
            let (is_full, is_enough) = (n >= wanted, lengths[i + 1..].iter().sum::<usize>() >= least);
            if i + 1 == lengths.len() || (is_full && is_enough) {
                shares.push(first..i + 1);
                (first, n) = (i + 1, 0);
            }
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First and end of every share, on two threads.
    fn divided(rows: Option<(usize, usize)>, lengths: &[usize]) -> Vec<(usize, usize)> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let shares = pool.install(|| Shares { rows }.divide(lengths));
        shares.into_iter().map(|share| (share.start, share.end)).collect()
    }

    #[test]
    fn a_batch_is_divided_where_shares_are_worth_it() {
        assert_eq!(divided(Some((4, 256)), &[72, 72]), [(0, 1), (1, 2)]);
        assert_eq!(divided(Some((4, 256)), &[1; 8]), [(0, 4), (4, 8)]);
        assert_eq!(divided(Some((4, 256)), &[1; 5]), [(0, 5)]);
        assert_eq!(divided(Some((4, 256)), &[200; 6]), [(0, 2), (2, 4), (4, 6)]);
        assert_eq!(divided(Some((128, usize::MAX)), &[72, 72]), [(0, 2)]);
        assert_eq!(divided(Some((128, usize::MAX)), &[600, 100, 500]), [(0, 1), (1, 3)]);
        assert_eq!(divided(None, &[600, 600]), [(0, 2)]);
        assert_eq!(divided(Some((4, 256)), &[]), []);
    }
}
