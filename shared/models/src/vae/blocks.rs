//! The two blocks that both halves of the autoencoder are made of.

use candle_core::{Result, Tensor};
use unipic_nn::{AttentionSegment, Build, Conv2d, GroupNorm, HeadLayout, Linear, LinearFormat, Ops, attend};

use super::NORM_EPS;

/// GroupNorm and swish before a convolution.
///
/// Shapes: `[1, n_in, h, w]` → `[1, n_out, h', w']`.
pub(super) struct NormedConv {
    norm: GroupNorm,
    conv: Conv2d,
}

impl NormedConv {
    /// Loads the norm `norm` and the 3×3 convolution `conv` of `build`.
    pub(super) fn load(
        build: &Build,
        (norm, conv): (&str, &str),
        (n_in, n_out): (usize, usize),
        n_groups: usize,
    ) -> Result<Self> {
        let norm = GroupNorm::load(&build.pp(norm), n_in, n_groups, NORM_EPS)?;
        Ok(Self { norm, conv: Conv2d::load(&build.pp(conv), n_in, n_out, 3, 1, 1)? })
    }

    /// conv(swish(norm(x))).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.conv.forward_normed(x, &self.norm)
    }

    /// `residual` plus the same, written over the residual where the device allows.
    fn forward_onto(&self, x: &Tensor, residual: Tensor) -> Result<Tensor> {
        self.conv.forward_normed_onto(x, &self.norm, residual)
    }
}

/// norm, swish, conv, twice, plus the input.
pub(super) struct ResidualBlock {
    first: NormedConv,
    second: NormedConv,
    /// 1×1, where the channel count changes.
    shortcut: Option<Conv2d>,
}

impl ResidualBlock {
    /// Loads `norm1`, `conv1`, `norm2`, `conv2` and, when `n_in` ≠ `n_out`, `nin_shortcut`.
    pub(super) fn load(build: &Build, n_in: usize, n_out: usize, n_groups: usize) -> Result<Self> {
        let shortcut = match n_in == n_out {
            true => None,
            false => Some(Conv2d::load(&build.pp("nin_shortcut"), n_in, n_out, 1, 1, 0)?),
        };
        Ok(Self {
            first: NormedConv::load(build, ("norm1", "conv1"), (n_in, n_out), n_groups)?,
            second: NormedConv::load(build, ("norm2", "conv2"), (n_out, n_out), n_groups)?,
            shortcut,
        })
    }

    /// Takes its input for good: the sum is written over it, so that the widest level holds two activations and not three.
    ///
    /// Shapes: `[1, n_in, h, w]` → `[1, n_out, h, w]`.
    pub(super) fn forward(&self, x: Tensor) -> Result<Tensor> {
        let h = self.first.forward(&x)?;
        let residual = match &self.shortcut {
            Some(shortcut) => shortcut.forward(&x)?,
            None => x,
        };
        self.second.forward_onto(&h, residual)
    }
}

/// Single-head softmax attention over the positions of an image, plus the input.
pub(super) struct AttentionBlock {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    proj_out: Linear,
    ops: Ops,
}

impl AttentionBlock {
    /// Loads `norm` and the 1×1 convolutions `q`, `k`, `v`, `proj_out`.
    pub(super) fn load(build: &Build, n_channels: usize, n_groups: usize) -> Result<Self> {
        let pointwise = |name: &str| pointwise(&build.pp(name), n_channels);
        Ok(Self {
            norm: GroupNorm::load(&build.pp("norm"), n_channels, n_groups, NORM_EPS)?,
            q: pointwise("q")?,
            k: pointwise("k")?,
            v: pointwise("v")?,
            proj_out: pointwise("proj_out")?,
            ops: build.ops,
        })
    }

    /// Shapes: `[B, C, h, w]` → the same; no image sees another.
    pub(super) fn forward(&self, x: Tensor) -> Result<Tensor> {
        let (b, n_channels, h, w) = x.dims4()?;
        let rows = self.norm.forward(&x)?.reshape((b, n_channels, h * w))?.transpose(1, 2)?.contiguous()?;
        let rows = rows.reshape((b * h * w, n_channels))?;
        let (q, k, v) = (self.q.forward(&rows)?, self.k.forward(&rows)?, self.v.forward(&rows)?);
        let layout = HeadLayout { n_heads: 1, n_kv_heads: 1, head_dim: n_channels };
        let mixed = attend(self.ops, &q, &k, &v, &vec![AttentionSegment::full(h * w); b], layout)?;
        let out = self.proj_out.forward(&mixed)?.reshape((b, h * w, n_channels))?;
        let out = out.transpose(1, 2)?.reshape((b, n_channels, h, w))?;
        x + out
    }
}

/// A 1×1 convolution as a linear layer over positions. Always dense: the autoencoder is 66 M parameters whose errors show
/// in the picture at once.
fn pointwise(build: &Build, n_channels: usize) -> Result<Linear> {
    let weight = build.get((n_channels, n_channels, 1, 1), "weight")?.reshape((n_channels, n_channels))?;
    let dense = build.clone().with_linear_format(LinearFormat::Dense);
    Linear::from_weight(&dense, weight, Some(build.get(n_channels, "bias")?))
}

/// Residual, attention, residual: the narrow middle of either half.
pub(super) struct Middle {
    first: ResidualBlock,
    attention: AttentionBlock,
    second: ResidualBlock,
}

impl Middle {
    /// Loads `block_1`, `attn_1`, `block_2`.
    pub(super) fn load(build: &Build, n_channels: usize, n_groups: usize) -> Result<Self> {
        Ok(Self {
            first: ResidualBlock::load(&build.pp("block_1"), n_channels, n_channels, n_groups)?,
            attention: AttentionBlock::load(&build.pp("attn_1"), n_channels, n_groups)?,
            second: ResidualBlock::load(&build.pp("block_2"), n_channels, n_channels, n_groups)?,
        })
    }

    /// Shapes: `[B, C, h, w]` → the same; no image sees another.
    pub(super) fn forward(&self, x: Tensor) -> Result<Tensor> {
        let x = self.first.forward(x)?;
        let x = self.attention.forward(x)?;
        self.second.forward(x)
    }
}
