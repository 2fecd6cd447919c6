//! Latents to pixels.

use candle_core::{DType, Result, Tensor};
use unipic_nn::{Build, Conv2d};
use unipic_weights::config::VaeConfig;

use super::blocks::{Middle, NormedConv, ResidualBlock};

/// The autoencoder's decoder (model page, section 2).
pub struct Decoder {
    post_quant_conv: Conv2d,
    conv_in: Conv2d,
    middle: Middle,
    /// From the narrowest resolution to the widest.
    levels: Vec<Level>,
    out: NormedConv,
    scale: f64,
    dtype: DType,
}

/// Residual blocks of one resolution and the way up to the next.
struct Level {
    blocks: Vec<ResidualBlock>,
    upsample: Option<Conv2d>,
}

impl Decoder {
    /// Loads `vae.decoder` and `vae.post_quant_conv`; `build` stands at the root of the checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &VaeConfig) -> Result<Self> {
        let root = build.pp("vae");
        let decoder = root.pp("decoder");
        let n_narrow = config.ch * config.ch_mult.last().copied().unwrap_or(1);
        let mut n_in = n_narrow;
        let mut levels = Vec::with_capacity(config.ch_mult.len());
        for (i, mult) in config.ch_mult.iter().enumerate().rev() {
            let shape = (n_in, config.ch * mult, config.num_res_blocks + 1);
            levels.push(Level::load(&decoder.pp("up").pp(i), shape, i > 0, config.norm_groups)?);
            n_in = config.ch * mult;
        }
        let (z, embed) = (config.z_channels, config.embed_dim);
        Ok(Self {
            post_quant_conv: Conv2d::load(&root.pp("post_quant_conv"), embed, z, 1, 1, 0)?,
            conv_in: Conv2d::load(&decoder.pp("conv_in"), z, n_narrow, 3, 1, 1)?,
            middle: Middle::load(&decoder.pp("mid"), n_narrow, config.norm_groups)?,
            levels,
            out: NormedConv::load(&decoder, ("norm_out", "conv_out"), (n_in, 3), config.norm_groups)?,
            scale: config.scale,
            dtype: build.tensors.dtype(),
        })
    }

    /// Pixels, not yet clamped; [`super::pixels_to_u8`] makes bytes of them.
    ///
    /// Shapes: `[B, m, n, 16]` → f32 `[B, 3, 16m, 16n]`, about [-1, 1]. Runs in the weights' dtype, image by image.
    ///
    /// # Errors
    /// When the shape does not fit or the device fails.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let (n_images, _, _, _) = latents.dims4()?;
        let pixels = (0..n_images).map(|i| self.decode_one(&latents.narrow(0, i, 1)?)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&pixels, 0)
    }

    /// `[1, m, n, 16]` → `[1, 3, 16m, 16n]`.
    fn decode_one(&self, latents: &Tensor) -> Result<Tensor> {
        let latents = (latents.to_dtype(DType::F32)? / self.scale)?;
        self.render(&latents.permute((0, 3, 1, 2))?)
    }

    /// Pixels of unscaled latents, all images in one pass: what training the autoencoder needs.
    ///
    /// Shapes: `[B, 16, m, n]` → f32 `[B, 3, 16m, 16n]`, about [-1, 1].
    ///
    /// # Errors
    /// When the shape does not fit or the device fails.
    pub fn render(&self, latents: &Tensor) -> Result<Tensor> {
        let x = latents.contiguous()?.to_dtype(self.dtype)?;
        let x = self.conv_in.forward(&self.post_quant_conv.forward(&x)?)?;
        let mut x = self.middle.forward(x)?;
        for level in &self.levels {
            x = level.forward(x)?;
        }
        self.out.forward(&x)?.to_dtype(DType::F32)
    }
}

impl Level {
    /// Loads `block.{j}` and, where `goes_up`, `upsample.conv`. `shape` is channels in, channels out and the number of
    /// blocks.
    fn load(
        build: &Build,
        (n_in, n_out, n_blocks): (usize, usize, usize),
        goes_up: bool,
        n_groups: usize,
    ) -> Result<Self> {
        let block = |j: usize| {
            let n_in = if j == 0 { n_in } else { n_out };
            ResidualBlock::load(&build.pp("block").pp(j), n_in, n_out, n_groups)
        };
        let upsample =
            goes_up.then(|| Conv2d::load(&build.pp("upsample").pp("conv"), n_out, n_out, 3, 1, 1)).transpose()?;
        Ok(Self { blocks: (0..n_blocks).map(block).collect::<Result<_>>()?, upsample })
    }

    /// `[1, n_in, h, w]` → `[1, n_out, 2h, 2w]`, in the widest level `[1, n_out, h, w]`.
    fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        for block in &self.blocks {
            x = block.forward(x)?;
        }
        match &self.upsample {
            Some(conv) => conv.forward_upsampled(&x),
            None => Ok(x),
        }
    }
}
