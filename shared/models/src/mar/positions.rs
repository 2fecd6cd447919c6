//! Learned positional tables, resized to an image's grid.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Result, Tensor};
use unipic_nn::{Build, Ops};

use super::ImageGrid;

/// Grids whose resized tables are kept. Users choose the grid, so the cache needs a bound; at 1024 × 1024 pixels and the
/// real width a table takes 21 MB in f32.
const CACHED_GRIDS: usize = 8;

/// A positional table: some rows that belong to buffers, never resized, then one row per place of the base grid.
#[derive(Clone, Debug)]
pub struct PositionTable {
    /// `[n_front + base·base, D]`.
    table: Tensor,
    n_front: usize,
    base: ImageGrid,
    ops: Ops,
    /// Oldest first. Behind a mutex because models are shared between threads; it is held while a missing table is
    /// computed, so that two callers do not both do so.
    resized: Arc<Mutex<VecDeque<(ImageGrid, Tensor)>>>,
}

impl PositionTable {
    /// Loads `name` `[1, n_front + base_side², D]`.
    ///
    /// # Errors
    /// When the tensor is missing or misshapen.
    pub fn load(build: &Build, name: &str, n_front: usize, base_side: usize, width: usize) -> Result<Self> {
        let base = ImageGrid { rows: base_side, cols: base_side };
        let table = build.get((1, n_front + base.n_places(), width), name)?.squeeze(0)?;
        Ok(Self { table, n_front, base, ops: build.ops, resized: Arc::default() })
    }

    /// The table for a grid: the front rows as they are, the places resized bilinearly (half-pixel centres, no
    /// antialiasing) when the grid is not the base grid (model page, section 3).
    ///
    /// Shapes: → `[n_front + N, D]` in the dtype of the weights; interpolated in f32.
    ///
    /// # Errors
    /// When the grid is empty or the device refuses the tensors.
    pub fn for_grid(&self, grid: ImageGrid) -> Result<Tensor> {
        if grid == self.base {
            return Ok(self.table.clone());
        }
        if grid.n_places() == 0 {
            candle_core::bail!("a grid of {} × {} has no places", grid.rows, grid.cols);
        }
        // While training the table changes from step to step, and its gradient has to pass through the resize.
        if self.ops.is_differentiable() {
            return self.resize(grid);
        }
        let mut resized = self.resized.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, table)) = resized.iter().find(|(known, _)| *known == grid) {
            return Ok(table.clone());
        }
        let table = self.resize(grid)?;
        if resized.len() == CACHED_GRIDS {
            resized.pop_front();
        }
        resized.push_back((grid, table.clone()));
        Ok(table)
    }

    /// The rows of several images, one behind the other: of each all front positions, then its places, all of
    /// the grid's where none are given.
    ///
    /// One gather serves the whole batch, because while training every gather, and every piece of a concatenation, has a
    /// backward pass over a whole table.
    ///
    /// Shapes: → `[Σ(n_front + places), D]`.
    ///
    /// # Errors
    /// As [`PositionTable::for_grid`], and when there is no image or a place is not on its grid.
    pub fn rows_packed(&self, images: &[(ImageGrid, Option<&[u32]>)]) -> Result<Tensor> {
        let mut grids: Vec<ImageGrid> = Vec::new();
        for (grid, places) in images {
            grid.check_places(places.unwrap_or_default())?;
            if !grids.contains(grid) {
                grids.push(*grid);
            }
        }
        let tables = grids.iter().map(|grid| self.for_grid(*grid)).collect::<Result<Vec<_>>>()?;
        if let ([table], [(grid, places)]) = (&tables[..], images)
            && places.is_none_or(|places| places.len() == grid.n_places())
        {
            return Ok(table.clone());
        }
        let table = Tensor::cat(&tables, 0)?;
        let n_rows = |grid: &ImageGrid| (self.n_front + grid.n_places()) as u32;
        let mut rows: Vec<u32> = Vec::new();
        for (grid, places) in images {
            let first: u32 = grids.iter().take_while(|known| *known != grid).map(n_rows).sum();
            match places {
                None => rows.extend(first..first + n_rows(grid)),
                Some(places) => {
                    let front = first + self.n_front as u32;
                    rows.extend((first..front).chain(places.iter().map(|place| front + place)));
                }
            }
        }
        let n_rows = rows.len();
        table.index_select(&Tensor::from_vec(rows, n_rows, table.device())?, 0)
    }

    fn resize(&self, grid: ImageGrid) -> Result<Tensor> {
        let (rows, cols) = (axis_taps(self.base.rows, grid.rows), axis_taps(self.base.cols, grid.cols));
        let table = self.table.to_dtype(DType::F32)?;
        let corner = |pick_row: fn(&Tap) -> u32, pick_col: fn(&Tap) -> u32| -> Result<Tensor> {
            let at =
                |row: &Tap, col: &Tap| (self.n_front + self.base.cols * pick_row(row) as usize) as u32 + pick_col(col);
            let ids: Vec<u32> = rows.iter().flat_map(|row| cols.iter().map(move |col| at(row, col))).collect();
            table.index_select(&Tensor::from_vec(ids, grid.n_places(), table.device())?, 0)
        };
        let weights = |of: &dyn Fn(&Tap, &Tap) -> f32| -> Result<Tensor> {
            let weights: Vec<f32> = rows.iter().flat_map(|row| cols.iter().map(move |col| of(row, col))).collect();
            Tensor::from_vec(weights, (grid.n_places(), 1), table.device())
        };
        let (right, down) = (weights(&|_, col| col.fraction)?, weights(&|row, _| row.fraction)?);
        let (left, up) = (weights(&|_, col| 1.0 - col.fraction)?, weights(&|row, _| 1.0 - row.fraction)?);
        let line = |row: fn(&Tap) -> u32| -> Result<Tensor> {
            let (a, b) = (corner(row, |col| col.low)?, corner(row, |col| col.high)?);
            a.broadcast_mul(&left)? + b.broadcast_mul(&right)?
        };
        let (above, below) = (line(|row| row.low)?, line(|row| row.high)?);
        let places = (above.broadcast_mul(&up)? + below.broadcast_mul(&down)?)?.to_dtype(self.table.dtype())?;
        Tensor::cat(&[&self.table.narrow(0, 0, self.n_front)?, &places], 0)
    }
}

/// The two source positions that a target position lies between, and how far it is from the lower one.
struct Tap {
    low: u32,
    high: u32,
    fraction: f32,
}

/// Taps of every target position along one axis, pixel centres at half-integers.
fn axis_taps(n_source: usize, n_target: usize) -> Vec<Tap> {
    let scale = n_source as f32 / n_target as f32;
    let last = n_source.saturating_sub(1);
    (0..n_target)
        .map(|i| {
            let source = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
            let low = (source as usize).min(last);
            Tap { low: low as u32, high: (low + 1).min(last) as u32, fraction: (source - low as f32).min(1.0) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taps(n_source: usize, n_target: usize) -> Vec<(u32, u32, f32)> {
        axis_taps(n_source, n_target).into_iter().map(|t| (t.low, t.high, t.fraction)).collect()
    }

    #[test]
    fn doubling_an_axis_takes_quarters() {
        assert_eq!(taps(2, 4), [(0, 1, 0.0), (0, 1, 0.25), (0, 1, 0.75), (1, 1, 0.25)]);
    }

    #[test]
    fn halving_an_axis_takes_midpoints_without_antialiasing() {
        assert_eq!(taps(4, 2), [(0, 1, 0.5), (2, 3, 0.5)]);
    }
}
