//! The ViT block of MAR, and a stack of them.

use candle_core::{Result, Tensor};
use unipic_nn::{
    AttentionSegment, Build, Dropout, HeadLayout, LayerNorm, Linear, Ops, activation, attend_joint,
    attend_joint_dropping,
};
use unipic_weights::config::MarConfig;

/// A pre-norm transformer block with full attention (model page, section 3).
#[derive(Clone, Debug)]
pub struct Block {
    attention_norm: LayerNorm,
    /// One product for queries, keys and values, as the checkpoint has it.
    qkv: Linear,
    attention_out: Linear,
    mlp_norm: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
    layout: HeadLayout,
    ops: Ops,
    /// In training alone.
    dropout: Option<Dropout>,
}

/// The places of a block that drop values.
#[derive(Clone, Copy)]
enum Place {
    AttentionWeights,
    AttentionOut,
    MlpHidden,
    MlpOut,
}

impl Block {
    /// Loads a block; `build` stands at it.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &MarConfig) -> Result<Self> {
        let width = config.embed_dim;
        let (hidden, eps) = (width * config.mlp_ratio, config.layer_norm_eps);
        if !width.is_multiple_of(config.num_heads.max(1)) {
            candle_core::bail!("MAR's width {width} does not divide into {} heads", config.num_heads);
        }
        let n_heads = config.num_heads.max(1);
        Ok(Self {
            attention_norm: LayerNorm::load(&build.pp("norm1"), width, eps)?,
            qkv: Linear::load(&build.pp("attn.qkv"), width, 3 * width)?,
            attention_out: Linear::load(&build.pp("attn.proj"), width, width)?,
            mlp_norm: LayerNorm::load(&build.pp("norm2"), width, eps)?,
            mlp_in: Linear::load(&build.pp("mlp.fc1"), width, hidden)?,
            mlp_out: Linear::load(&build.pp("mlp.fc2"), hidden, width)?,
            layout: HeadLayout { n_heads, n_kv_heads: n_heads, head_dim: width / n_heads },
            ops: build.ops,
            dropout: None,
        })
    }

    /// The same block with dropout where the published one has it: on attention weights, the MLP's hidden values and both
    /// outputs (model page, section 10).
    #[must_use]
    pub fn with_dropout(&self, dropout: Option<Dropout>) -> Self {
        Self { dropout, ..self.clone() }
    }

    /// Shapes: `[T, D]` → `[T, D]`, T the rows of all segments.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor, segments: &[AttentionSegment]) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.attention_norm.forward(x)?)?;
        let mixed = match self.dropout_at(Place::AttentionWeights) {
            Some(dropout) => attend_joint_dropping(&qkv, segments, self.layout, dropout)?,
            None => attend_joint(self.ops, &qkv, segments, self.layout)?,
        };
        let x = (x + self.thinned(Place::AttentionOut, self.attention_out.forward(&mixed)?)?)?;
        let hidden = activation::gelu_erf(&self.mlp_in.forward(&self.mlp_norm.forward(&x)?)?)?;
        x + self.thinned(Place::MlpOut, self.mlp_out.forward(&self.thinned(Place::MlpHidden, hidden)?)?)?
    }

    fn dropout_at(&self, place: Place) -> Option<Dropout> {
        self.dropout.map(|dropout| dropout.at(place as u64))
    }

    fn thinned(&self, place: Place, x: Tensor) -> Result<Tensor> {
        match self.dropout_at(place) {
            Some(dropout) => dropout.forward(&x),
            None => Ok(x),
        }
    }
}

/// Blocks one after the other. The norm behind them is apart, so that a caller can drop rows before it.
#[derive(Clone, Debug)]
pub struct Stack {
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl Stack {
    /// Loads `{name}_blocks.*` and `{name}_norm`; `build` stands at `mar`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, name: &str, config: &MarConfig) -> Result<Self> {
        let place = build.pp(format!("{name}_blocks"));
        let blocks = (0..config.depth).map(|i| Block::load(&place.pp(i), config)).collect::<Result<_>>()?;
        let norm = LayerNorm::load(&build.pp(format!("{name}_norm")), config.embed_dim, config.layer_norm_eps)?;
        Ok(Self { blocks, norm })
    }

    /// The same stack with dropout, each block with masks of its own.
    #[must_use]
    pub fn with_dropout(&self, dropout: Option<Dropout>) -> Self {
        let blocks = self.blocks.iter().zip(0..);
        let block = |(block, place): (&Block, u64)| block.with_dropout(dropout.map(|dropout| dropout.at(place)));
        Self { blocks: blocks.map(block).collect(), norm: self.norm.clone() }
    }

    /// All blocks, without the norm: `[T, D]` → `[T, D]`, where `lengths` are the rows of each image and add up to T.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn blocks(&self, x: Tensor, lengths: &[usize]) -> Result<Tensor> {
        let segments: Vec<_> = lengths.iter().map(|&n| AttentionSegment::full(n)).collect();
        self.blocks.iter().try_fold(x, |x, block| block.forward(&x, &segments))
    }

    /// The final norm, row by row.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn norm(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward(x)
    }
}
