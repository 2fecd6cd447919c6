//! The latent grid of an image.

use candle_core::Result;

/// Rows and columns of an image's latent places; a place's number is its raster position, row · cols + column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageGrid {
    /// Rows m.
    pub rows: usize,
    /// Columns n.
    pub cols: usize,
}

impl ImageGrid {
    /// Places N of the grid.
    pub fn n_places(&self) -> usize {
        self.rows.saturating_mul(self.cols)
    }

    /// Every place in raster order.
    pub fn places(&self) -> Vec<u32> {
        (0..self.n_places() as u32).collect()
    }

    /// Checks that `places` lie on the grid, each once and in raster order, since rows of a packed matrix have no other
    /// way to tell where they belong.
    ///
    /// # Errors
    /// When one does not.
    pub fn check_places(&self, places: &[u32]) -> Result<()> {
        if !places.is_sorted_by(|a, b| a < b) {
            candle_core::bail!("places have to be in raster order, each at most once");
        }
        match places.last() {
            Some(&last) if last as usize >= self.n_places() => {
                candle_core::bail!("place {last} is not on a grid of {} × {}", self.rows, self.cols)
            }
            _ => Ok(()),
        }
    }
}
