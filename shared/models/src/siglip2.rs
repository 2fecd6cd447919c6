//! The SigLIP2 vision tower, whose hidden states the language model reads as an image (model page, sections 1 and 7).
//!
//! Its pooling head is known to the checkpoint and never built: understanding uses every patch's state, not one vector.

use candle_core::{DType, Result, Tensor};
use unipic_nn::activation::Function;
use unipic_nn::{AttentionSegment, Build, HeadLayout, LayerNorm, Linear, LinearFormat, Ops, Shares, attend};
use unipic_weights::config::SiglipConfig;

/// The vision tower up to `post_layernorm`.
pub struct Encoder {
    patch_embedding: Linear,
    /// `[n_tokens, width]`.
    position_embedding: Tensor,
    layers: Vec<Layer>,
    post_layernorm: LayerNorm,
    patch_size: usize,
    image_size: usize,
    n_channels: usize,
    shares: Shares,
    dtype: DType,
}

impl Encoder {
    /// Loads `siglip2.vision_model` but for its head; `build` stands at the root of the checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &SiglipConfig) -> Result<Self> {
        let root = build.pp("siglip2").pp("vision_model");
        let embeddings = root.pp("embeddings");
        let layers = root.pp("encoder").pp("layers");
        let position = (config.n_tokens(), config.hidden_size);
        Ok(Self {
            patch_embedding: patch_embedding(&embeddings.pp("patch_embedding"), config)?,
            position_embedding: embeddings.pp("position_embedding").get(position, "weight")?,
            layers: (0..config.num_hidden_layers).map(|i| Layer::load(&layers.pp(i), config)).collect::<Result<_>>()?,
            post_layernorm: LayerNorm::load(&root.pp("post_layernorm"), config.hidden_size, config.layer_norm_eps)?,
            patch_size: config.patch_size,
            image_size: config.image_size,
            n_channels: config.num_channels,
            shares: Shares::new(build, config.num_hidden_layers * Layer::n_weights(config)),
            dtype: build.tensors.dtype(),
        })
    }

    /// Hidden states of one image's patches in raster order.
    ///
    /// Shapes: RGB `[3, S, S]` in [-1, 1], S the configured side → `[n_tokens, width]`, in the weights' dtype.
    ///
    /// # Errors
    /// When the shape does not fit or the device fails.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.forward_packed(&pixels.unsqueeze(0)?)
    }

    /// The same for several images in one pass; no image sees another.
    ///
    /// Shapes: `[B, 3, S, S]` → `[B·n_tokens, width]`.
    ///
    /// # Errors
    /// As [`Encoder::forward`].
    pub fn forward_packed(&self, pixels: &Tensor) -> Result<Tensor> {
        let n_images = pixels.dim(0)?;
        let patches = self.patches(&pixels.to_dtype(self.dtype)?)?;
        let positions = self.position_embedding.repeat((n_images, 1))?;
        let x = self.patch_embedding.forward_onto(&patches, &positions)?;
        let mut segments = vec![AttentionSegment::full(self.position_embedding.dim(0)?); n_images];
        self.shares.run(
            &mut segments,
            |segment| segment.n_rows,
            &x,
            |segments, x| {
                let x = self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(x, segments))?;
                self.post_layernorm.forward(&x)
            },
        )
    }

    /// `[B, C, S, S]` → `[B·n_tokens, C·p·p]`: patches in raster order, each channels first as the kernel is stored.
    fn patches(&self, pixels: &Tensor) -> Result<Tensor> {
        let (b, c, height, width) = pixels.dims4()?;
        let (p, side) = (self.patch_size, self.image_size);
        if (c, height, width) != (self.n_channels, side, side) {
            candle_core::bail!("the vision tower takes {side}×{side} px, not {width}×{height} px in {c} channels");
        }
        let n = side / p;
        let patches = pixels.reshape(&[b, c, n, p, n, p][..])?.permute(vec![0, 2, 4, 1, 3, 5])?;
        patches.reshape((b * n * n, c * p * p))
    }
}

/// The patch convolution as a linear layer: its stride equals its kernel, so patches do not overlap. Dense always, since
/// it sees raw pixels and is a thousandth of the tower.
fn patch_embedding(build: &Build, config: &SiglipConfig) -> Result<Linear> {
    let (p, width) = (config.patch_size, config.hidden_size);
    let weight = build.get((width, config.num_channels, p, p), "weight")?;
    let dense = build.clone().with_linear_format(LinearFormat::Dense);
    let weight = weight.reshape((width, config.num_channels * p * p))?;
    Linear::from_weight(&dense, weight, Some(build.get(width, "bias")?))
}

/// One pre-norm transformer layer.
struct Layer {
    norm1: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    layout: HeadLayout,
    ops: Ops,
}

impl Layer {
    /// Weights of a layer's products.
    fn n_weights(config: &SiglipConfig) -> usize {
        config.hidden_size * (4 * config.hidden_size + 2 * config.intermediate_size)
    }

    fn load(build: &Build, config: &SiglipConfig) -> Result<Self> {
        let (width, n_heads) = (config.hidden_size, config.num_attention_heads);
        let attention = |name: &str| Linear::load(&build.pp("self_attn").pp(name), width, width);
        let norm = |name: &str| LayerNorm::load(&build.pp(name), width, config.layer_norm_eps);
        let mlp = build.pp("mlp");
        Ok(Self {
            norm1: norm("layer_norm1")?,
            q: attention("q_proj")?,
            k: attention("k_proj")?,
            v: attention("v_proj")?,
            out: attention("out_proj")?,
            norm2: norm("layer_norm2")?,
            fc1: Linear::load(&mlp.pp("fc1"), width, config.intermediate_size)?,
            fc2: Linear::load(&mlp.pp("fc2"), config.intermediate_size, width)?,
            layout: HeadLayout { n_heads, n_kv_heads: n_heads, head_dim: width / n_heads },
            ops: build.ops,
        })
    }

    /// `[T, width]` → the same.
    fn forward(&self, x: Tensor, segments: &[AttentionSegment]) -> Result<Tensor> {
        let h = self.norm1.forward(&x)?;
        let (q, k, v) = (self.q.forward(&h)?, self.k.forward(&h)?, self.v.forward(&h)?);
        let mixed = attend(self.ops, &q, &k, &v, segments, self.layout)?;
        let x = self.out.forward_onto(&mixed, &x)?;
        let h = self.fc1.forward_then(&self.norm2.forward(&x)?, Function::GeluTanh)?;
        self.fc2.forward_onto(&h, &x)
    }
}
