//! Sequences for the language model, put together by one gather.

use std::ops::Range;

use candle_core::{Result, Tensor};
use unipic_models::qwen2::{CacheUse, Run};

use super::indices;
use crate::model::TrainModel;

/// Sequences in the making. Their rows are token embeddings and rows of matrices known beforehand, which are numbered
/// through: those of the first matrix, those of the second, and so on.
#[derive(Default)]
pub(super) struct Packing {
    /// Tokens of all sequences.
    ids: Vec<u32>,
    rows: Vec<Row>,
    lengths: Vec<usize>,
}

enum Row {
    /// The so many-th token.
    Token(u32),
    /// This row of the matrices.
    Given(u32),
}

impl Packing {
    /// Rows packed so far, which is where the next one will be.
    fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    /// Adds a sequence of `parts` and returns where each part lies.
    pub(super) fn sequence<const N: usize>(&mut self, parts: [Part<'_>; N]) -> [Range<u32>; N] {
        let before = self.len();
        let places = parts.map(|part| {
            let first = self.len();
            match part {
                Part::Text(ids) => {
                    let next = self.ids.len() as u32;
                    self.ids.extend_from_slice(ids);
                    self.rows.extend((next..self.ids.len() as u32).map(Row::Token));
                }
                Part::BuffersLast { first_row, n_buffers, n_places } => {
                    let places = first_row + n_buffers;
                    self.rows.extend((places..places + n_places).chain(first_row..places).map(Row::Given));
                }
            }
            first..self.len()
        });
        self.lengths.push((self.len() - before) as usize);
        places
    }

    /// Runs all sequences, each causal on its own.
    ///
    /// Shapes: `given` `[n, H]` each → hidden states `[T, H]` of all rows, and those that the last layer reads, `[T, H]`.
    ///
    /// # Errors
    /// When a row is not there, a token is beyond the vocabulary, or the device fails.
    pub(super) fn run(self, model: &TrainModel, given: &[&Tensor]) -> Result<(Tensor, Tensor)> {
        let tokens = model.llm.embed(&self.ids)?;
        let n_given = given.iter().map(|matrix| matrix.dim(0)).sum::<Result<usize>>()? as u32;
        let row = |row: Row| match row {
            Row::Given(row) => row,
            Row::Token(token) => n_given + token,
        };
        let rows = indices(self.rows.into_iter().map(row).collect(), model.device())?;
        let sources: Vec<&Tensor> = given.iter().copied().chain([&tokens]).collect();
        let x = Tensor::cat(&sources, 0)?.index_select(&rows, 0)?;
        let mut runs: Vec<Run> = self.lengths.iter().map(|&n_rows| Run { n_rows, cache: CacheUse::None }).collect();
        model.llm.forward_watched(&x, &mut runs)
    }
}

/// A piece of a sequence.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// Tokens.
    Text(&'a [u32]),
    /// An image's rows of the given matrices, where its buffers (none for SigLIP2) are in front; here they go behind its
    /// places.
    BuffersLast {
        /// The image's first row.
        first_row: u32,
        /// Its buffers K.
        n_buffers: u32,
        /// Its places.
        n_places: u32,
    },
}

/// Where the rows of an image went that [`Part::BuffersLast`] put there: in MAR's order, buffers first.
pub(super) fn buffers_first(place: Range<u32>, n_buffers: u32) -> impl Iterator<Item = u32> {
    let split = place.end - n_buffers;
    (split..place.end).chain(place.start..split)
}
