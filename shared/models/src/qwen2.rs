//! The shared autoregressive decoder, Qwen2.5 (model page, sections 1 and 4).
//!
//! One pass runs any number of sequences at once: their rows are packed into one matrix, and each run says how many
//! rows are its own and what it does with its cache. Caches live outside, so that the model holds no state and the same
//! code serves prefill, probes (which leave nothing behind) and token-by-token decoding in one batch. Causality and the
//! absence of padding make a row's hidden state depend on its own sequence only.

mod layer;

#[cfg(test)]
mod tests;

use std::ops::Range;

use candle_core::{DType, Result, Tensor};
use unipic_nn::rope::Angles;
use unipic_nn::{AttentionSegment, Build, KvCache, Linear, LinearFormat, Mask, RmsNorm, Rotary, Shares};
use unipic_weights::config::LlmConfig;

use layer::Layer;

/// The language model.
pub struct Model {
    /// `[vocab, H]`, never quantized: rows are looked up.
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
    output: Linear,
    rotary: Rotary,
    shares: Shares,
    /// Dtype of hidden states.
    dtype: DType,
}

/// One sequence's share of a pass.
#[derive(Debug)]
pub struct Run<'a> {
    /// Its rows, following those of the run before.
    pub n_rows: usize,
    /// What stands before its rows, and whether they stay.
    pub cache: CacheUse<'a>,
}

/// What a run does with its cache. Positions go on from the cache's length.
#[derive(Debug)]
pub enum CacheUse<'a> {
    /// Begins at position 0 and leaves nothing behind.
    None,
    /// Sees what is held and leaves it as it is: a probe.
    Read(&'a KvCache),
    /// Sees what is held and adds its own keys and values.
    Append(&'a mut KvCache),
}

impl CacheUse<'_> {
    fn cache(&self) -> Option<&KvCache> {
        match self {
            Self::None => None,
            Self::Read(cache) => Some(cache),
            Self::Append(cache) => Some(cache),
        }
    }
}

impl Model {
    /// Loads `llm.model.` and, unless the embeddings are tied, `llm.lm_head.` from the root of the checkpoint tree.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &LlmConfig) -> Result<Self> {
        let (llm, shape) = (build.pp("llm"), (config.vocab_size, config.hidden_size));
        let model = llm.pp("model");
        let quantized = build.linear_format == LinearFormat::Q8_0 && config.hidden_size.is_multiple_of(32);
        let table = |name: &str, at: &Build| {
            // The table of a quantized model is halved: at the real size it is the largest tensor by far.
            let dtype = if quantized { DType::BF16 } else { build.tensors.dtype() };
            at.tensors.get_with_hints_dtype(shape, name, Default::default(), dtype)
        };
        let embedding = table("weight", &model.pp("embed_tokens"))?;
        let output = match config.tie_word_embeddings {
            true => Linear::from_weight(build, embedding.clone(), None)?,
            false => Linear::load_without_bias(&llm.pp("lm_head"), config.hidden_size, config.vocab_size)?,
        };
        let layers = (0..config.num_hidden_layers).map(|i| Layer::load(&model.pp("layers").pp(i), config));
        Ok(Self {
            embedding,
            layers: layers.collect::<Result<_>>()?,
            norm: RmsNorm::load(&model.pp("norm"), config.hidden_size, config.rms_norm_eps)?,
            output,
            rotary: Rotary::new(config.head_dim(), config.rope_theta),
            shares: Shares::new(build, config.num_hidden_layers * Layer::n_weights(config)),
            dtype: build.tensors.dtype(),
        })
    }

    /// An empty cache of the right depth.
    pub fn new_cache(&self) -> KvCache {
        KvCache::new(self.layers.len())
    }

    /// Dtype of embeddings and hidden states.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device the weights are on.
    pub fn device(&self) -> &candle_core::Device {
        self.embedding.device()
    }

    /// Embeddings of ids.
    ///
    /// Shapes: T ids → `[T, H]`.
    ///
    /// # Errors
    /// When an id is beyond the vocabulary.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(ids, self.embedding.device())?;
        self.embedding.index_select(&ids, 0)?.to_dtype(self.dtype)
    }

    /// Final-norm hidden states of packed runs, each causal behind its own cache.
    ///
    /// Shapes: `x` `[T, H]` → `[T, H]`, where T is the sum of the runs' rows. Softmax, norms and rotary angles in f32.
    ///
    /// # Errors
    /// When the runs do not add up to T, or shapes, dtypes or devices do not fit. Caches that were being appended to
    /// are then useless.
    pub fn forward(&self, x: &Tensor, runs: &mut [Run<'_>]) -> Result<Tensor> {
        check_rows(x, runs)?;
        self.shares.run(
            runs,
            |run| run.n_rows,
            x,
            |runs, x| {
                let angles = self.angles(x, runs)?;
                let x = self.pass(0..self.layers.len(), x.to_dtype(self.dtype)?, &angles, runs)?;
                self.norm.forward(&x)
            },
        )
    }

    /// The same, and the states that the last layer reads: what it finds there, it can still use.
    ///
    /// Shapes: `x` `[T, H]` → `[T, H]` and `[T, H]`, the second without a norm.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn forward_watched(&self, x: &Tensor, runs: &mut [Run<'_>]) -> Result<(Tensor, Tensor)> {
        check_rows(x, runs)?;
        let angles = self.angles(x, runs)?;
        let last = self.layers.len().saturating_sub(1);
        let watched = self.pass(0..last, x.to_dtype(self.dtype)?, &angles, runs)?;
        let x = self.pass(last..self.layers.len(), watched.clone(), &angles, runs)?;
        Ok((self.norm.forward(&x)?, watched))
    }

    /// The rotary angles of all rows.
    fn angles(&self, x: &Tensor, runs: &[Run<'_>]) -> Result<Angles> {
        self.rotary.angles(&positions(runs), x.device())
    }

    /// Takes states through some of the layers.
    fn pass(&self, layers: Range<usize>, mut x: Tensor, angles: &Angles, runs: &mut [Run<'_>]) -> Result<Tensor> {
        for (i, layer) in self.layers.iter().enumerate().take(layers.end).skip(layers.start) {
            let segments: Vec<AttentionSegment> = runs.iter().map(|run| segment(run, i)).collect();
            let (y, k, v) = layer.attention(&x, angles, &segments)?;
            append(runs, i, &k, &v)?;
            x = layer.mlp(&y)?;
        }
        Ok(x)
    }

    /// Logits of hidden states, for the rows that are asked about only: the output matrix is the largest of all.
    ///
    /// Shapes: `[R, H]` → f32 `[R, vocab]`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.output.forward(hidden)?.to_dtype(DType::F32)
    }
}

fn check_rows(x: &Tensor, runs: &[Run<'_>]) -> Result<()> {
    let n_rows: usize = runs.iter().map(|run| run.n_rows).sum();
    if n_rows != x.dim(0)? {
        candle_core::bail!("runs of {n_rows} rows over a matrix of {}", x.dim(0)?);
    }
    Ok(())
}

/// Positions of all packed rows.
fn positions(runs: &[Run<'_>]) -> Vec<usize> {
    let of_run = |run: &Run<'_>| {
        let first = run.cache.cache().map_or(0, KvCache::len);
        first..first + run.n_rows
    };
    runs.iter().flat_map(of_run).collect()
}

fn segment(run: &Run<'_>, layer: usize) -> AttentionSegment {
    let past = run.cache.cache().map_or_else(Vec::new, |cache| cache.layer(layer));
    AttentionSegment { n_rows: run.n_rows, past, mask: Mask::Causal }
}

/// Hands every appending run its rows of a layer's keys and values `[T, n_kv_heads·head_dim]`.
fn append(runs: &mut [Run<'_>], layer: usize, k: &Tensor, v: &Tensor) -> Result<()> {
    let mut first = 0;
    for run in runs {
        if let CacheUse::Append(cache) = &mut run.cache {
            cache.append(layer, &k.narrow(0, first, run.n_rows)?, &v.narrow(0, first, run.n_rows)?)?;
        }
        first += run.n_rows;
    }
    Ok(())
}
