//! Keys and values of one sequence, outside the model.
//!
//! A cache is a chain of frozen blocks that any number of sequences share, and a tail of its own. The two guidance
//! branches of a request and its n images share the blocks of their common prefix; a probe appends nothing at all, since
//! attention takes a pass's own keys and values directly.
//!
//! A tail that grows token by token keeps room to spare and is written in place, so that a token costs its own keys and
//! values and not a copy of all before. Only rows that nobody has seen are ever written: a tail that a clone shares, or
//! that was cut back, moves to memory of its own at the next append.

use std::sync::Arc;

use candle_core::{Result, Tensor};

/// Keys and values of one layer: `[len, n_kv_heads·head_dim]` each.
pub type LayerKv = (Tensor, Tensor);

/// The cache of one sequence.
#[derive(Clone, Debug)]
pub struct KvCache {
    n_layers: usize,
    shared: Vec<Arc<Block>>,
    tail: Vec<Option<Tail>>,
}

/// Keys and values of a layer with room to grow.
#[derive(Clone, Debug)]
struct Tail {
    /// The first rows of the memory: those that count.
    rows: LayerKv,
    /// `[capacity, n_kv_heads·head_dim]` each.
    room: LayerKv,
    /// Counts the tails that share this memory.
    sharers: Arc<()>,
    /// Whether rows beyond those that count may have been handed out.
    was_cut: bool,
}

impl Tail {
    /// A tail of copies of `k` and `v`, which may be views of a whole batch. A prompt comes in one piece and may be shared
    /// as it is: there is no room to spare yet.
    fn new(k: &Tensor, v: &Tensor) -> Result<Self> {
        let rows = (k.force_contiguous()?, v.force_contiguous()?);
        Ok(Self { room: rows.clone(), rows, sharers: Arc::new(()), was_cut: false })
    }

    fn len(&self) -> usize {
        self.rows.0.dims()[0]
    }

    /// Appends in place where there is room that nobody else can see, else in new memory of twice the size.
    fn append(&mut self, k: &Tensor, v: &Tensor) -> Result<()> {
        let (before, len) = (self.len(), self.len() + k.dim(0)?);
        if len > self.room.0.dim(0)? || self.was_cut || Arc::strong_count(&self.sharers) > 1 {
            let room = (grown(&self.rows.0, 2 * len)?, grown(&self.rows.1, 2 * len)?);
            *self = Self { rows: first(&room, before)?, room, sharers: Arc::new(()), was_cut: false };
        }
        self.room.0.slice_set(&k.contiguous()?, 0, before)?;
        self.room.1.slice_set(&v.contiguous()?, 0, before)?;
        self.rows = first(&self.room, len)?;
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        if len < self.len() {
            self.rows = first(&self.room, len)?;
            self.was_cut = true;
        }
        Ok(())
    }

    /// The rows without room to spare, or with it where the device has no memory for a copy.
    fn frozen(self) -> LayerKv {
        if self.len() == self.room.0.dims()[0] {
            return self.room;
        }
        match (self.rows.0.force_contiguous(), self.rows.1.force_contiguous()) {
            (Ok(k), Ok(v)) => (k, v),
            _ => self.rows,
        }
    }
}

fn first((k, v): &LayerKv, len: usize) -> Result<LayerKv> {
    Ok((k.narrow(0, 0, len)?, v.narrow(0, 0, len)?))
}

/// The rows in memory for `capacity` of them.
fn grown(rows: &Tensor, capacity: usize) -> Result<Tensor> {
    let room = Tensor::zeros((capacity, rows.dim(1)?), rows.dtype(), rows.device())?;
    room.slice_set(&rows.contiguous()?, 0, 0)?;
    Ok(room)
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
        self.tail.last().and_then(Option::as_ref).map_or(0, Tail::len)
    }

    /// The chunks of a layer in order of position; their lengths add up to the layer's length.
    pub fn layer(&self, layer: usize) -> Vec<LayerKv> {
        let shared = self.shared.iter().map(|b| b.layers[layer].clone());
        shared.chain(self.tail[layer].as_ref().map(|tail| tail.rows.clone())).collect()
    }

    /// Appends keys and values `[t, n_kv_heads·head_dim]` to a layer's tail.
    ///
    /// # Errors
    /// When shapes do not fit what is held.
    pub fn append(&mut self, layer: usize, k: &Tensor, v: &Tensor) -> Result<()> {
        if k.dims2()? != v.dims2()? {
            candle_core::bail!("keys {:?} do not go with values {:?}", k.shape(), v.shape());
        }
        match &mut self.tail[layer] {
            Some(tail) => tail.append(k, v),
            empty => {
                *empty = Some(Tail::new(k, v)?);
                Ok(())
            }
        }
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
            match layer {
                Some(tail) if len > shared => tail.truncate(len - shared)?,
                _ => *layer = None,
            }
        }
        Ok(())
    }

    /// Freezes what is held and returns a second cache that shares it.
    pub fn share(&mut self) -> Self {
        let len = self.tail_len();
        if len > 0 {
            let layers = self.tail.iter_mut().filter_map(Option::take).map(Tail::frozen).collect();
            self.shared.push(Arc::new(Block { layers, len }));
        }
        Self { n_layers: self.n_layers, shared: self.shared.clone(), tail: vec![None; self.n_layers] }
    }

    /// Freezes what is held, cut behind those of the positions `ends` that lie in the tail, so that what stands in front of
    /// one can be shared without the rest. Ascending; blocks are copies of their own, so none keeps another's memory.
    ///
    /// # Errors
    /// When the device has no memory for a copy; nothing has changed then.
    pub fn freeze_at(&mut self, ends: &[usize]) -> Result<()> {
        let (len, shared) = (self.len(), self.len() - self.tail_len());
        let cuts: Vec<usize> = ends.iter().copied().filter(|end| (shared + 1..len).contains(end)).collect();
        let (mut first, mut blocks) = (shared, Vec::with_capacity(cuts.len() + 1));
        if cuts.is_empty() {
            drop(self.share());
            return Ok(());
        }
        for end in cuts.into_iter().chain([len]) {
            let part = |tail: &Tail| {
                let (k, v) = &tail.rows;
                let part = |t: &Tensor| t.narrow(0, first - shared, end - first)?.force_contiguous();
                Ok((part(k)?, part(v)?))
            };
            let layers = self.tail.iter().flatten().map(part).collect::<Result<_>>()?;
            blocks.push(Arc::new(Block { layers, len: end - first }));
            first = end;
        }
        self.shared.extend(blocks);
        self.tail = vec![None; self.n_layers];
        Ok(())
    }

    /// Positions at which the frozen blocks end, one after the other.
    pub fn block_ends(&self) -> Vec<usize> {
        let add = |end: &mut usize, block: &Arc<Block>| {
            *end += block.len;
            Some(*end)
        };
        self.shared.iter().scan(0, add).collect()
    }

    /// A cache that shares the first `n` blocks; all where there are fewer.
    #[must_use]
    pub fn first_blocks(&self, n: usize) -> Self {
        let shared = self.shared.iter().take(n).cloned().collect();
        Self { n_layers: self.n_layers, shared, tail: vec![None; self.n_layers] }
    }

    /// Bytes of one frozen block; none of one that is not there.
    pub fn block_bytes(&self, block: usize) -> usize {
        self.shared.get(block).map_or(0, |block| block.layers.iter().map(layer_bytes).sum())
    }

    /// Bytes of this cache's own tail, room to spare included; shared blocks are counted by [`KvCache::shared_bytes`].
    pub fn tail_bytes(&self) -> usize {
        self.tail.iter().flatten().map(|tail| layer_bytes(&tail.room)).sum()
    }

    /// Bytes of all of it: shared blocks and tail.
    pub fn bytes(&self) -> usize {
        self.shared_bytes() + self.tail_bytes()
    }

    /// Bytes of several caches together; a block that some of them share counts once.
    pub fn total_bytes(caches: &[Self]) -> usize {
        let mut blocks: Vec<&Arc<Block>> = Vec::new();
        for block in caches.iter().flat_map(|cache| &cache.shared) {
            if !blocks.iter().any(|known| Arc::ptr_eq(known, block)) {
                blocks.push(block);
            }
        }
        let shared: usize = blocks.iter().flat_map(|block| &block.layers).map(layer_bytes).sum();
        shared + caches.iter().map(Self::tail_bytes).sum::<usize>()
    }

    /// Bytes of the shared blocks in the chain.
    pub fn shared_bytes(&self) -> usize {
        self.shared.iter().flat_map(|b| &b.layers).map(layer_bytes).sum()
    }
}

fn layer_bytes((k, v): &LayerKv) -> usize {
    bytes(k) + bytes(v)
}

fn bytes(t: &Tensor) -> usize {
    t.elem_count() * t.dtype().size_in_bytes()
}
