//! `x·Wᵀ + b` of a small layer, with what follows it, over weights that were packed into panels when it was loaded.
//!
//! With the weights on the right side of the panel product neither the input nor the result is transposed, which in a
//! narrow layer costs as much as the product itself. The weights then stand in memory twice, so large layers, where the
//! transposition is small beside the product, go the other way (see [`super::linear`]). Both give the same bits: each result
//! is one chain of multiply-adds along the inner axis.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::lanes::Lanes;
use super::panel::{Panels, ROUND, position, product_into};
use super::pointwise::{Function, apply};
use super::{Kernel, dispatch};

/// Most weights of a layer that is packed: 2 MiB.
const MOST: usize = 1 << 19;
/// Rows whose results are made, and then finished while they are in a cache.
const GROUP: usize = 12;
/// Products that are not worth a second thread.
const TASK: usize = 1 << 20;

/// The weights of a layer as panels: `[n_in, 64]` for every 64 outputs.
#[derive(Debug)]
pub(crate) struct Packed {
    values: Aligned,
    n_in: usize,
    n_out: usize,
}

/// What is done to the results.
#[derive(Clone, Copy)]
pub(crate) enum Then<'a> {
    /// Nothing.
    Nothing,
    /// A function of each.
    Function(Function),
    /// They are added to these values, `[rows, n_out]`.
    Onto(&'a [f32]),
}

impl Packed {
    /// Packs `w` `[n_out, n_in]`, where the layer is one for it.
    pub(crate) fn new(w: &[f32], (n_in, n_out): (usize, usize)) -> Option<Self> {
        if n_in == 0 || n_out == 0 || !n_out.is_multiple_of(ROUND) || n_in * n_out > MOST || w.len() != n_in * n_out {
            return None;
        }
        let mut values = Aligned::zeros(n_in * n_out);
        for (output, w) in w.chunks_exact(n_in).enumerate() {
            for (k, value) in w.iter().enumerate() {
                values[position(n_in, n_out, k, output).0] = *value;
            }
        }
        Some(Self { values, n_in, n_out })
    }

    /// Values of an input and of a result.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.n_in, self.n_out)
    }

    /// `then(x·Wᵀ + bias)`, `[rows, n_out]`, of `x` `[rows, n_in]`.
    pub(crate) fn linear(&self, x: &[f32], bias: Option<&[f32]>, then: Then<'_>) -> Vec<f32> {
        let (n_in, n_out) = (self.n_in, self.n_out);
        let rows = x.len() / n_in;
        assert!(x.len() == rows * n_in && bias.is_none_or(|bias| bias.len() == n_out));
        assert!(!matches!(then, Then::Onto(onto) if onto.len() != rows * n_out));
        let mut out = Vec::with_capacity(rows * n_out);
        let room = &mut out.spare_capacity_mut()[..rows * n_out];
        let task = |(i, out): (usize, &mut [MaybeUninit<f32>]), per_task: usize| {
            let (first, n) = (i * per_task, out.len() / n_out);
            let then = match then {
                Then::Onto(onto) => Then::Onto(&onto[first * n_out..][..n * n_out]),
                then => then,
            };
            dispatch(Task { weights: self, x: &x[first * n_in..][..n * n_in], bias, then, out });
        };
        let per_task = rows_of_task(rows, n_in * n_out);
        match per_task < rows {
            true => room.par_chunks_mut(per_task * n_out).enumerate().for_each(|chunk| task(chunk, per_task)),
            false => task((0, room), rows),
        }
        // SAFETY: the tasks' chunks make up the whole room, and each writes all of its own.
        unsafe { out.set_len(rows * n_out) };
        out
    }
}

/// Rows of a task, so that all threads have some and none has too little.
fn rows_of_task(rows: usize, per_row: usize) -> usize {
    let threads = rayon::current_num_threads();
    match rows * per_row <= TASK {
        true => rows,
        false if rows <= 2 * GROUP => rows.div_ceil(threads),
        false => rows.div_ceil(4 * threads).next_multiple_of(GROUP).min(4 * GROUP),
    }
}

struct Task<'a> {
    weights: &'a Packed,
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    then: Then<'a>,
    out: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Packed { values, n_in, n_out } = self.weights;
        let (n_in, n_out) = (*n_in, *n_out);
        let right = Panels { values, stride: n_in, columns: n_out };
        let groups = self.out.chunks_mut(GROUP * n_out).zip(self.x.chunks(GROUP * n_in)).enumerate();
        for (group, (out, x)) in groups {
            let rows = out.len() / n_out;
            // SAFETY: `out` has room for all rows, which the product writes without reading them.
            let out = unsafe {
                product_into::<L>((x, n_in), (rows, n_in), right, (out.as_mut_ptr().cast(), out.len(), n_out), false);
                std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<f32>(), out.len())
            };
            if let Some(bias) = self.bias {
                for out in out.chunks_exact_mut(n_out) {
                    out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
                }
            }
            match self.then {
                Then::Nothing => {}
                Then::Function(function) => apply::<L>(function, out),
                Then::Onto(onto) => {
                    let onto = &onto[group * GROUP * n_out..];
                    out.iter_mut().zip(onto).for_each(|(out, onto)| *out += onto);
                }
            }
        }
    }
}
