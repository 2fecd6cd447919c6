//! Keys and values of one sequence, outside the model.
//!
//! A cache is a chain of frozen blocks that any number of sequences share, and a tail of its own. The two guidance
//! branches of a request and its n images share the blocks of their common prefix; a probe appends nothing at all, since
//! attention takes a pass's own keys and values directly.

use std::sync::Arc;

use candle_core::{Result, Tensor};

/// Keys and values of one layer: `[len, n_kv_heads·head_dim]` each.
pub type LayerKv = (Tensor, Tensor);

/// The cache of one sequence.
#[derive(Clone, Debug)]
pub struct KvCache {
    n_layers: usize,
    shared: Vec<Arc<Block>>,
    tail: Vec<Option<LayerKv>>,
}

#[derive(Debug)]
struct Block {
    layers: Vec<LayerKv>,
    len: usize,
}

impl KvCache {
    /// An empty cache for a model of `n_layers` layers.
    pub fn new(n_layers: usize) -> Self {
        Self { n_layers, shared: Vec::new(), tail: vec![None; n_layers] }
    }

    /// Positions held. During a pass, layers already run have one pass more than the rest: this counts the last layer.
    pub fn len(&self) -> usize {
        self.shared.iter().map(|b| b.len).sum::<usize>() + self.tail_len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tail_len(&self) -> usize {
        self.tail.last().and_then(Option::as_ref).map_or(0, |(k, _)| k.dims()[0])
    }

    /// The chunks of a layer in order of position; their lengths add up to the layer's length.
    pub fn layer(&self, layer: usize) -> Vec<LayerKv> {
        let shared = self.shared.iter().map(|b| b.layers[layer].clone());
        shared.chain(self.tail[layer].clone()).collect()
    }

    /// Appends keys and values `[t, n_kv_heads·head_dim]` to a layer's tail.
    ///
    /// # Errors
    /// When shapes do not fit what is held.
    pub fn append(&mut self, layer: usize, k: &Tensor, v: &Tensor) -> Result<()> {
        let grown = match self.tail[layer].take() {
            None => (k.contiguous()?, v.contiguous()?),
            Some((old_k, old_v)) => (Tensor::cat(&[&old_k, k], 0)?, Tensor::cat(&[&old_v, v], 0)?),
        };
        self.tail[layer] = Some(grown);
        Ok(())
    }

    /// Cuts the tail back so that `len` positions are held.
    ///
    /// # Errors
    /// When `len` lies inside a shared block or beyond the end.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        let shared: usize = self.shared.iter().map(|b| b.len).sum();
        if len < shared || len > self.len() {
            candle_core::bail!("cannot cut a cache of {} positions, {shared} of them shared, to {len}", self.len());
        }
        for layer in &mut self.tail {
            *layer = match layer.take() {
                Some((k, v)) if len > shared => Some((k.narrow(0, 0, len - shared)?, v.narrow(0, 0, len - shared)?)),
                _ => None,
            };
        }
        Ok(())
    }

    /// Freezes what is held and returns a second cache that shares it.
    pub fn share(&mut self) -> Self {
        let len = self.tail_len();
        if len > 0 {
            let layers = self.tail.iter_mut().filter_map(Option::take).collect();
            self.shared.push(Arc::new(Block { layers, len }));
        }
        Self { n_layers: self.n_layers, shared: self.shared.clone(), tail: vec![None; self.n_layers] }
    }

    /// Bytes of this cache's own tail; shared blocks are counted by [`KvCache::shared_bytes`].
    pub fn tail_bytes(&self) -> usize {
        self.tail.iter().flatten().map(layer_bytes).sum()
    }

    /// Bytes of the shared blocks in the chain.
    pub fn shared_bytes(&self) -> usize {
        self.shared.iter().flat_map(|b| &b.layers).map(layer_bytes).sum()
    }
}

fn layer_bytes((k, v): &LayerKv) -> usize {
    [k, v].iter().map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum()
}
