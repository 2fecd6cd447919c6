//! MAR's encoder: from the known latents of an image to one row per buffer token and known place.

use candle_core::{DType, Result, Tensor};
use unipic_nn::activation::add;
use unipic_nn::{Build, Dropout, LayerNorm, Linear};
use unipic_weights::config::MarConfig;

use super::{ImageGrid, LATENT_CHANNELS, PositionTable, Stack};

/// The known places of one image of a packed batch.
#[derive(Clone, Copy, Debug)]
pub struct Visible<'a> {
    /// The image's grid.
    pub grid: ImageGrid,
    /// Its known places in raster order.
    pub places: &'a [u32],
}

/// The encoder (model page, section 3). Masked places are never computed: everything before the blocks works row by row.
#[derive(Clone, Debug)]
pub struct Encoder {
    latent_in: Linear,
    /// What every buffer token is before its position is added, `[1, D]`.
    buffer: Tensor,
    n_buffers: usize,
    positions: PositionTable,
    input_norm: LayerNorm,
    stack: Stack,
    dtype: DType,
}

impl Encoder {
    /// Loads the encoder; `build` stands at the root of the checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &MarConfig) -> Result<Self> {
        let (build, width) = (build.pp("mar"), config.embed_dim);
        let table = "encoder_pos_embed_learned";
        Ok(Self {
            latent_in: Linear::load(&build.pp("z_proj"), LATENT_CHANNELS, width)?,
            buffer: build.get((1, width), "fake_latent")?,
            n_buffers: config.buffer_size,
            positions: PositionTable::load(&build, table, config.buffer_size, config.base_grid(), width)?,
            input_norm: LayerNorm::load(&build.pp("z_proj_ln"), width, config.layer_norm_eps)?,
            stack: Stack::load(&build, "encoder", config)?,
            dtype: build.tensors.dtype(),
        })
    }

    /// The same encoder with dropout in its blocks, for one pass of a training step: the masks follow from the key, so a
    /// second pass would drop the same.
    #[must_use]
    pub fn with_dropout(&self, dropout: Option<Dropout>) -> Self {
        Self { stack: self.stack.with_dropout(dropout), ..self.clone() }
    }

    /// Buffer tokens K in front of every image's places.
    pub fn n_buffers(&self) -> usize {
        self.n_buffers
    }

    /// The device of the weights.
    pub fn device(&self) -> &candle_core::Device {
        self.buffer.device()
    }

    /// Encodes the known places of several images.
    ///
    /// Shapes: `latents` `[ΣV, 16]`, image after image in the order of their `places` (`None` when nothing is known of any)
    /// → `[Σ(K + V), D]`, each image's buffers first.
    ///
    /// # Errors
    /// When the number of rows or a place does not fit, or the device refuses the tensors.
    pub fn forward(&self, latents: Option<&Tensor>, images: &[Visible]) -> Result<Tensor> {
        let n_visible: usize = images.iter().map(|i| i.places.len()).sum();
        if latents.map_or(Ok(0), |l| l.dim(0))? != n_visible {
            candle_core::bail!("{n_visible} known places but other latents: {latents:?}");
        }
        let projected = latents.map(|l| self.latent_in.forward(&l.to_dtype(self.dtype)?)).transpose()?;
        let rows: Vec<&Tensor> = std::iter::once(&self.buffer).chain(&projected).collect();
        let content = Tensor::cat(&rows, 0)?.index_select(&self.content_rows(images)?, 0)?;
        let x = self.input_norm.forward(&add(&content, &self.position_rows(images)?)?)?;
        let lengths: Vec<usize> = images.iter().map(|i| self.n_buffers + i.places.len()).collect();
        self.stack.norm(&self.stack.blocks(&x, &lengths)?)
    }

    /// For every row of the batch its row in [buffer; latents].
    fn content_rows(&self, images: &[Visible]) -> Result<Tensor> {
        let mut next = 1_u32;
        let mut rows = Vec::new();
        for image in images {
            rows.extend(std::iter::repeat_n(0, self.n_buffers));
            let end = next + image.places.len() as u32;
            rows.extend(next..end);
            next = end;
        }
        let n_rows = rows.len();
        Tensor::from_vec(rows, n_rows, self.device())
    }

    fn position_rows(&self, images: &[Visible]) -> Result<Tensor> {
        self.positions.rows_packed(&images.iter().map(|image| (image.grid, Some(image.places))).collect::<Vec<_>>())
    }
}
