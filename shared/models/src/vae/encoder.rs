//! Pixels to latents.

use candle_core::{DType, Result, Tensor};
use unipic_nn::{Build, Conv2d};
use unipic_weights::config::VaeConfig;

use super::blocks::{AttentionBlock, Middle, NormedConv, ResidualBlock};

/// The autoencoder's encoder, up to the posterior mean (model page, section 2).
pub struct Encoder {
    conv_in: Conv2d,
    levels: Vec<Level>,
    middle: Middle,
    out: NormedConv,
    quant_conv: Conv2d,
    embed_dim: usize,
    stride: usize,
    scale: f64,
    dtype: DType,
}

/// Residual blocks of one resolution and the way down to the next.
struct Level {
    /// Each with the attention that follows it, which only the last level has.
    blocks: Vec<(ResidualBlock, Option<AttentionBlock>)>,
    downsample: Option<Conv2d>,
}

impl Encoder {
    /// Loads `vae.encoder` and `vae.quant_conv`; `build` stands at the root of the checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &VaeConfig) -> Result<Self> {
        let root = build.pp("vae");
        let encoder = root.pp("encoder");
        let mut levels = Vec::with_capacity(config.ch_mult.len());
        let mut n_in = config.ch;
        for (i, mult) in config.ch_mult.iter().enumerate() {
            let is_last = i + 1 == config.ch_mult.len();
            let shape = (n_in, config.ch * mult, config.num_res_blocks);
            levels.push(Level::load(&encoder.pp("down").pp(i), shape, is_last, config.norm_groups)?);
            n_in = config.ch * mult;
        }
        let n_moments = 2 * config.z_channels;
        Ok(Self {
            conv_in: Conv2d::load(&encoder.pp("conv_in"), 3, config.ch, 3, 1, 1)?,
            levels,
            middle: Middle::load(&encoder.pp("mid"), n_in, config.norm_groups)?,
            out: NormedConv::load(&encoder, ("norm_out", "conv_out"), (n_in, n_moments), config.norm_groups)?,
            quant_conv: Conv2d::load(&root.pp("quant_conv"), n_moments, 2 * config.embed_dim, 1, 1, 0)?,
            embed_dim: config.embed_dim,
            stride: config.stride(),
            scale: config.scale,
            dtype: build.tensors.dtype(),
        })
    }

    /// Posterior means times the scale, never a sample.
    ///
    /// Shapes: RGB `[B, 3, 16m, 16n]` in [-1, 1] → f32 `[B, m, n, 16]`. Runs in the weights' dtype, image by image.
    ///
    /// # Errors
    /// When the shape does not fit, a side is no multiple of the stride, or the device fails.
    pub fn encode(&self, pixels: &Tensor) -> Result<Tensor> {
        let (n_images, _, height, width) = pixels.dims4()?;
        if !height.is_multiple_of(self.stride) || !width.is_multiple_of(self.stride) || height * width == 0 {
            candle_core::bail!("sides of {width}×{height} px are no multiples of {} px", self.stride);
        }
        let latents = (0..n_images).map(|i| self.encode_one(&pixels.narrow(0, i, 1)?)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&latents, 0)
    }

    /// `[1, 3, 16m, 16n]` → `[1, m, n, 16]`.
    fn encode_one(&self, pixels: &Tensor) -> Result<Tensor> {
        let mean = self.moments(pixels)?.narrow(1, 0, self.embed_dim)?;
        let latents = (mean.to_dtype(DType::F32)? * self.scale)?;
        latents.permute((0, 2, 3, 1))?.contiguous()
    }

    /// The posterior's means and log-variances, unscaled, all images in one pass: what training the autoencoder needs.
    ///
    /// Shapes: RGB `[B, 3, 16m, 16n]` in [-1, 1] → `[B, 32, m, n]`, means first, in the weights' dtype.
    ///
    /// # Errors
    /// When the shape does not fit or the device fails.
    pub fn moments(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(&pixels.to_dtype(self.dtype)?.contiguous()?)?;
        for level in &self.levels {
            x = level.forward(x)?;
        }
        let x = self.out.forward(&self.middle.forward(x)?)?;
        self.quant_conv.forward(&x)
    }
}

impl Level {
    /// Loads `block.{j}`, in the last level `attn.{j}`, elsewhere `downsample.conv`. `shape` is channels in, channels out
    /// and the number of blocks.
    fn load(
        build: &Build,
        (n_in, n_out, n_blocks): (usize, usize, usize),
        is_last: bool,
        n_groups: usize,
    ) -> Result<Self> {
        let block = |j: usize| {
            let n_in = if j == 0 { n_in } else { n_out };
            let residual = ResidualBlock::load(&build.pp("block").pp(j), n_in, n_out, n_groups)?;
            let attention =
                is_last.then(|| AttentionBlock::load(&build.pp("attn").pp(j), n_out, n_groups)).transpose()?;
            Ok((residual, attention))
        };
        let downsample =
            (!is_last).then(|| Conv2d::load(&build.pp("downsample").pp("conv"), n_out, n_out, 3, 2, 0)).transpose()?;
        Ok(Self { blocks: (0..n_blocks).map(block).collect::<Result<_>>()?, downsample })
    }

    /// `[1, n_in, h, w]` → `[1, n_out, h/2, w/2]`, in the last level `[1, n_out, h, w]`.
    fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        for (residual, attention) in &self.blocks {
            x = residual.forward(x)?;
            if let Some(attention) = attention {
                x = attention.forward(x)?;
            }
        }
        let Some(conv) = &self.downsample else { return Ok(x) };
        // The published padding is lopsided: one row at the bottom and one column on the right. Each assignment frees the
        // image before it.
        x = x.pad_with_zeros(2, 0, 1)?;
        x = x.pad_with_zeros(3, 0, 1)?;
        conv.forward(&x)
    }
}
