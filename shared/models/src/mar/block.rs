//! The ViT block of MAR, and a stack of them.

use candle_core::{Device, Result, Tensor};
use unipic_nn::activation::Function;
use unipic_nn::{
    AttentionSegment, Build, Dropout, HeadLayout, LayerNorm, Linear, Ops, Shares, attend_joint, attend_joint_asked,
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
        self.mlp(&self.branch(Place::AttentionOut, &self.attention_out, &mixed, x)?)
    }

    /// What [`Block::forward`] gives for some rows, which see all rows of their segments: the same bits, without computing
    /// the others. Without dropout.
    ///
    /// Shapes: `x` `[T, D]`, `rows` `[ΣR]`, the same rows as `images` have → `[ΣR, D]`.
    fn forward_asked(&self, x: &Tensor, rows: &Tensor, images: &[&Asked]) -> Result<Tensor> {
        let segments: Vec<_> = images.iter().map(|image| (image.rows.len(), image.n_rows)).collect();
        let qkv = self.qkv.forward(&self.attention_norm.forward(x)?)?;
        let mixed = attend_joint_asked(self.ops, &qkv, rows, &segments, self.layout)?;
        self.mlp(&self.attention_out.forward_onto(&mixed, &x.index_select(rows, 0)?)?)
    }

    /// x + MLP(norm x).
    fn mlp(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = self.mlp_in.forward_then(&self.mlp_norm.forward(x)?, Function::GeluErf)?;
        let hidden = match self.dropout_at(Place::MlpHidden) {
            Some(dropout) => dropout.forward(&hidden)?,
            None => hidden,
        };
        self.branch(Place::MlpOut, &self.mlp_out, &hidden, x)
    }

    /// x + what the branch's last layer makes of it, thinned in training.
    fn branch(&self, place: Place, layer: &Linear, branch: &Tensor, x: &Tensor) -> Result<Tensor> {
        match self.dropout_at(place) {
            Some(dropout) => x + dropout.forward(&layer.forward(branch)?)?,
            None => layer.forward_onto(branch, x),
        }
    }

    fn dropout_at(&self, place: Place) -> Option<Dropout> {
        self.dropout.map(|dropout| dropout.at(place as u64))
    }
}

/// An image of a packed batch of which some rows are asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Rows of the image.
    pub n_rows: usize,
    /// Those asked for, counted within the image, in ascending order.
    pub rows: Vec<u32>,
}

/// The asked rows, counted over all images.
fn asked_rows(images: &[&Asked], device: &Device) -> Result<Tensor> {
    let (mut first, mut rows) = (0, Vec::new());
    for image in images {
        rows.extend(image.rows.iter().map(|row| first + row));
        first += image.n_rows as u32;
    }
    let n_rows = rows.len();
    Tensor::from_vec(rows, n_rows, device)
}

/// Blocks one after the other. The norm behind them is apart, so that a caller can drop rows before it.
#[derive(Clone, Debug)]
pub struct Stack {
    blocks: Vec<Block>,
    norm: LayerNorm,
    shares: Shares,
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
        // Of each block: queries, keys, values and what attention gives, then the MLP.
        let n_weights = config.depth * (4 + 2 * config.mlp_ratio) * config.embed_dim * config.embed_dim;
        Ok(Self { blocks, norm, shares: Shares::new(build, n_weights) })
    }

    /// The same stack with dropout, each block with masks of its own.
    #[must_use]
    pub fn with_dropout(&self, dropout: Option<Dropout>) -> Self {
        let blocks = self.blocks.iter().zip(0..);
        let block = |(block, place): (&Block, u64)| block.with_dropout(dropout.map(|dropout| dropout.at(place)));
        Self { blocks: blocks.map(block).collect(), ..self.clone() }
    }

    /// All blocks, without the norm: `[T, D]` → `[T, D]`, where `lengths` are the rows of each image and add up to T.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn blocks(&self, x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let mut segments: Vec<_> = lengths.iter().map(|&n| AttentionSegment::full(n)).collect();
        self.shares.run(
            &mut segments,
            |segment| segment.n_rows,
            x,
            |segments, x| self.blocks.iter().try_fold(x.clone(), |x, block| block.forward(&x, segments)),
        )
    }

    /// Some rows of [`Stack::blocks`]: `[T, D]` → `[ΣR, D]`. For inference the last block computes no others.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn asked(&self, x: &Tensor, asked: &[Asked]) -> Result<Tensor> {
        let (last, before) = match self.blocks.split_last() {
            Some((last, before)) if !last.ops.is_differentiable() => (Some(last), before),
            _ => (None, self.blocks.as_slice()),
        };
        let mut images: Vec<&Asked> = asked.iter().collect();
        self.shares.run(
            &mut images,
            |image| image.n_rows,
            x,
            |images, x| {
                let segments: Vec<_> = images.iter().map(|image| AttentionSegment::full(image.n_rows)).collect();
                let x = before.iter().try_fold(x.clone(), |x, block| block.forward(&x, &segments))?;
                let rows = asked_rows(images, x.device())?;
                match last {
                    Some(last) => last.forward_asked(&x, &rows, images),
                    None => x.index_select(&rows, 0),
                }
            },
        )
    }

    /// The final norm, row by row.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn norm(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward(x)
    }
}
