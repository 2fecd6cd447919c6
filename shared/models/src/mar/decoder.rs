//! MAR's decoder: from the conditioned encoding of the known places to a condition for every place to predict.

use candle_core::{Device, Result, Tensor};
use unipic_nn::activation::add;
use unipic_nn::{Build, Dropout, Linear};
use unipic_weights::config::MarConfig;

use super::{Asked, ImageGrid, PositionTable, Stack};

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

    /// The same decoder with dropout in its blocks, for one pass of a training step: the masks follow from the key, so a
    /// second pass would drop the same.
    #[must_use]
    pub fn with_dropout(&self, dropout: Option<Dropout>) -> Self {
        Self { stack: self.stack.with_dropout(dropout), ..self.clone() }
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
        for (image, source) in images.iter().filter_map(|image| Some((image, image.source?))) {
            let n_source = self.n_buffers + image.grid.n_places();
            if source.dims().first() != Some(&n_source) {
                candle_core::bail!("a source of other than {n_source} rows for {:?}", image.grid);
            }
        }
        let sources: Vec<&Tensor> = images.iter().filter_map(|image| image.source).collect();
        self.decode(conditioned, &sources, images, |image| image.source.is_some())
    }

    /// The same where every image is an edit and its source's rows lie in one matrix, as training has them: taken apart,
    /// each part's gradient would be spread over the whole matrix again.
    ///
    /// Shapes: `sources` [`Decoder::embed`] of `[Σ(K + N), D]`, image after image; the images' own `source` is not looked
    /// at.
    ///
    /// # Errors
    /// As [`Decoder::forward`].
    pub fn forward_over(&self, conditioned: &Tensor, sources: &Tensor, images: &[Canvas]) -> Result<Tensor> {
        let n_rows: usize = images.iter().map(|image| self.n_buffers + image.grid.n_places()).sum();
        if sources.dim(0)? != n_rows {
            candle_core::bail!("sources of {} rows for images of {n_rows}", sources.dim(0)?);
        }
        self.decode(conditioned, &[sources], images, |_| true)
    }

    fn decode(
        &self,
        conditioned: &Tensor,
        sources: &[&Tensor],
        images: &[Canvas],
        is_edit: fn(&Canvas) -> bool,
    ) -> Result<Tensor> {
        let embedded = self.embed(conditioned)?;
        let taken = ids(self.content_rows(embedded.dim(0)?, images, is_edit)?, embedded.device())?;
        let rows: Vec<&Tensor> = [&embedded, &self.mask_token].into_iter().chain(sources.iter().copied()).collect();
        let content = Tensor::cat(&rows, 0)?.index_select(&taken, 0)?;
        let positions: Vec<_> = images.iter().map(|i| (i.grid, None)).collect();
        let full = add(&content, &self.positions.rows_packed(&positions)?)?;
        let asked = images.iter().map(|image| self.asked(image)).collect::<Result<Vec<_>>>()?;
        // The norm works row by row, so it and what follows run on the asked rows only.
        let z = self.stack.norm(&self.stack.asked(&full, &asked)?)?;
        let positions: Vec<_> = images.iter().map(|i| (i.grid, Some(i.reveal))).collect();
        add(&z, &self.head_positions.rows_packed(&positions)?)
    }

    /// The rows of an image's full sequence that its places to reveal have.
    fn asked(&self, image: &Canvas) -> Result<Asked> {
        image.grid.check_places(image.reveal)?;
        let rows = image.reveal.iter().map(|place| self.n_buffers as u32 + place).collect();
        Ok(Asked { n_rows: self.n_buffers + image.grid.n_places(), rows })
    }

    /// For every row of the full sequences its row in [embedded; mask token; source of the first edit; …].
    fn content_rows(&self, n_embedded: usize, images: &[Canvas], is_edit: fn(&Canvas) -> bool) -> Result<Vec<u32>> {
        let mask_row = n_embedded as u32;
        let (mut known, mut source) = (0_u32, mask_row + 1);
        let mut rows = Vec::new();
        for image in images {
            image.grid.check_places(image.places)?;
            let n_source = (self.n_buffers + image.grid.n_places()) as u32;
            let first = rows.len();
            rows.extend(known..known + self.n_buffers as u32);
            known += self.n_buffers as u32;
            match is_edit(image) {
                true => rows.extend(source + self.n_buffers as u32..source + n_source),
                false => rows.extend(std::iter::repeat_n(mask_row, image.grid.n_places())),
            }
            for &place in image.places {
                rows[first + self.n_buffers + place as usize] = known;
                known += 1;
            }
            source += if is_edit(image) { n_source } else { 0 };
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
