//! MAR's decoder: from the conditioned encoding of the known places to a condition for every place to predict.

use candle_core::{Device, Result, Tensor};
use unipic_nn::{Build, Linear};
use unipic_weights::config::MarConfig;

use super::{ImageGrid, PositionTable, Stack};

/// One image of a packed batch, seen from the decoder.
#[derive(Clone, Copy, Debug)]
pub struct Canvas<'a> {
    /// The image's grid.
    pub grid: ImageGrid,
    /// Its known places in raster order, those that the encoding has rows of.
    pub places: &'a [u32],
    /// The places whose condition is asked for, in raster order.
    pub reveal: &'a [u32],
    /// In editing, what masked places hold: [`Decoder::embed`] of the source's encoding, `[K + N, D]`.
    pub source: Option<&'a Tensor>,
}

/// The decoder (model page, section 5).
#[derive(Clone, Debug)]
pub struct Decoder {
    embed: Linear,
    /// What a masked place holds when there is no source image, `[1, D]`.
    mask_token: Tensor,
    n_buffers: usize,
    positions: PositionTable,
    stack: Stack,
    head_positions: PositionTable,
}

impl Decoder {
    /// Loads the decoder; `build` stands at the root of the checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &MarConfig) -> Result<Self> {
        let (build, width, side) = (build.pp("mar"), config.embed_dim, config.base_grid());
        let table = |name, n_front| PositionTable::load(&build, name, n_front, side, width);
        Ok(Self {
            embed: Linear::load(&build.pp("decoder_embed"), width, width)?,
            mask_token: build.get((1, 1, width), "mask_token")?.squeeze(0)?,
            n_buffers: config.buffer_size,
            positions: table("decoder_pos_embed_learned", config.buffer_size)?,
            stack: Stack::load(&build, "decoder", config)?,
            head_positions: table("diffusion_pos_embed_learned", 0)?,
        })
    }

    /// The decoder's own embedding of encoder rows. In editing the source's rows are embedded once, here, and serve every
    /// iteration.
    ///
    /// Shapes: `[T, D]` → `[T, D]`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn embed(&self, encoded: &Tensor) -> Result<Tensor> {
        self.embed.forward(encoded)
    }

    /// Decodes several images.
    ///
    /// Shapes: `conditioned` `[Σ(K + V), D]`, image after image, buffers first → z `[ΣR, D]`, R the places to reveal.
    ///
    /// # Errors
    /// When rows, places or a source do not fit, or the device refuses the tensors.
    pub fn forward(&self, conditioned: &Tensor, images: &[Canvas]) -> Result<Tensor> {
        let full = self.full_sequences(&self.embed(conditioned)?, images)?;
        let lengths: Vec<usize> = images.iter().map(|i| self.n_buffers + i.grid.n_places()).collect();
        let decoded = self.stack.blocks(full, &lengths)?;
        // The norm works row by row, so it and what follows run on the asked rows only.
        let mut first_row = self.n_buffers as u32;
        let mut asked = Vec::new();
        for image in images {
            image.grid.check_places(image.reveal)?;
            asked.extend(image.reveal.iter().map(|p| first_row + p));
            first_row += (image.grid.n_places() + self.n_buffers) as u32;
        }
        let z = self.stack.norm(&decoded.index_select(&ids(asked, decoded.device())?, 0)?)?;
        let positions = images.iter().filter(|i| !i.reveal.is_empty());
        let positions = positions.map(|i| self.head_positions.rows(i.grid, i.reveal)).collect::<Result<Vec<_>>>()?;
        z + Tensor::cat(&positions, 0)?
    }

    /// Buffers and known places at their positions, mask tokens or source rows at all others; positions added.
    fn full_sequences(&self, embedded: &Tensor, images: &[Canvas]) -> Result<Tensor> {
        let sources = images.iter().filter_map(|i| i.source);
        let rows: Vec<&Tensor> = [embedded, &self.mask_token].into_iter().chain(sources).collect();
        let taken = self.content_rows(embedded.dim(0)?, images)?;
        let content = Tensor::cat(&rows, 0)?.index_select(&ids(taken, embedded.device())?, 0)?;
        let positions = images.iter().map(|i| self.positions.for_grid(i.grid)).collect::<Result<Vec<_>>>()?;
        content + Tensor::cat(&positions, 0)?
    }

    /// For every row of the full sequences its row in [embedded; mask token; source of the first edit; …].
    fn content_rows(&self, n_embedded: usize, images: &[Canvas]) -> Result<Vec<u32>> {
        let mask_row = n_embedded as u32;
        let (mut known, mut source) = (0_u32, mask_row + 1);
        let mut rows = Vec::new();
        for image in images {
            image.grid.check_places(image.places)?;
            let n_source = (self.n_buffers + image.grid.n_places()) as u32;
            if image.source.is_some_and(|s| s.dims().first() != Some(&(n_source as usize))) {
                candle_core::bail!("a source of other than {n_source} rows for {:?}", image.grid);
            }
            let first = rows.len();
            rows.extend(known..known + self.n_buffers as u32);
            known += self.n_buffers as u32;
            match image.source {
                Some(_) => rows.extend(source + self.n_buffers as u32..source + n_source),
                None => rows.extend(std::iter::repeat_n(mask_row, image.grid.n_places())),
            }
            for &place in image.places {
                rows[first + self.n_buffers + place as usize] = known;
                known += 1;
            }
            source += if image.source.is_some() { n_source } else { 0 };
        }
        if known as usize != n_embedded {
            candle_core::bail!("{n_embedded} encoded rows for images of {known}");
        }
        Ok(rows)
    }
}

fn ids(rows: Vec<u32>, device: &Device) -> Result<Tensor> {
    let n_rows = rows.len();
    Tensor::from_vec(rows, n_rows, device)
}
