//! Beginnings of prompts that were computed before.
//!
//! Every guided generation asks for the same unconditional prompt; an image is edited again with other words; a
//! conversation sends all its turns again with the next question. Their keys and values are kept for as long as there is
//! room, under a key that holds everything they depend on: the weights, and every token and embedding from the first on.
//! What is taken from here is what was computed, so results are the same bits either way.
//!
//! The tenant stands in the key: nobody learns from a quick answer what somebody else has asked. Only prompts of template
//! text alone are everybody's, since everybody knows them. Where room is short the tenant that holds most gives way, so a
//! busy one empties its own shelf and not its neighbours'.
//!
//! Prompts are kept block by block, cut behind every image and at the end of what was asked: a later prompt takes the
//! blocks that begin it, whole. Rejected: a tree that shares any common beginning, whose blocks would have to be cut again
//! and again for a few words more.

mod key;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use unipic_nn::KvCache;
use unipic_telemetry::metrics::Raised;

use crate::metrics::DecoderMetrics;
use key::Key;
pub(crate) use key::{Keys, Owner};

/// The blocks that are kept.
pub(crate) struct PrefixCache {
    max_bytes: u64,
    // A plain lock: it is held for a few map operations a prompt, never over an await or a computation.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    shelves: HashMap<Owner, Shelf>,
    bytes: u64,
}

/// What one owner has here; the longest unused go first.
struct Shelf {
    blocks: LruCache<Key, Block>,
    bytes: u64,
}

/// Everything up to the end of a block.
struct Block {
    cache: KvCache,
    /// Those of the blocks in front of it.
    before: Arc<[Key]>,
    /// Of the last block.
    bytes: u64,
    /// Counts them while the block is kept.
    _held: Raised,
}

/// The beginning of a prompt.
pub(crate) struct Found {
    pub(crate) cache: KvCache,
    /// Units that it covers.
    pub(crate) n_units: usize,
}

impl PrefixCache {
    /// Nothing yet, and never more than `max_bytes`; 0 keeps nothing.
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, kept: Mutex::default() }
    }

    /// Whether anything is kept at all; where not, no embeddings need be hashed.
    pub(crate) fn is_kept(&self) -> bool {
        self.max_bytes > 0
    }

    /// The longest beginning of at most `n_units` units that is kept.
    pub(crate) fn find(&self, keys: &Keys, n_units: usize, metrics: &DecoderMetrics) -> Option<Found> {
        if !self.is_kept() {
            return None;
        }
        let found = self.kept().find(keys, n_units);
        let reused = found.as_ref().map_or(0, |found| found.cache.len());
        metrics.looked_up(keys.owner() == &Owner::Everyone, reused);
        found
    }

    /// Keeps the blocks of a computed prompt, and lets go of others for them.
    pub(crate) fn keep(&self, keys: &Keys, cache: &KvCache, metrics: &DecoderMetrics) {
        if !self.is_kept() {
            return;
        }
        let mut kept = self.kept();
        let mut before: Vec<Key> = Vec::new();
        for (block, end) in cache.block_ends().into_iter().enumerate() {
            let Some(key) = keys.at(end) else { break };
            let bytes = cache.block_bytes(block) as u64;
            if bytes > self.max_bytes {
                break;
            }
            kept.put(keys.owner(), key, &before, || {
                let _held = metrics.held(bytes);
                Block { cache: cache.first_blocks(block + 1), before: before.as_slice().into(), bytes, _held }
            });
            before.push(key);
        }
        kept.shrink(self.max_bytes);
    }

    /// Lets go of everything: the device has no memory left for work.
    pub(crate) fn clear(&self) {
        let cleared = std::mem::take(&mut *self.kept());
        drop(cleared);
    }

    /// What is kept. A thread that panicked cannot have left it inconsistent: nothing in its changes panics.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, keys: &Keys, n_units: usize) -> Option<Found> {
        let shelf = self.shelves.get_mut(keys.owner())?;
        let (n_units, key) = keys.ends(n_units).rev().find(|(_, key)| shelf.blocks.contains(key))?;
        let block = shelf.blocks.get(&key)?;
        let (cache, before) = (block.cache.first_blocks(block.before.len() + 1), Arc::clone(&block.before));
        shelf.touch(&before);
        Some(Found { cache, n_units })
    }

    fn put(&mut self, owner: &Owner, key: Key, before: &[Key], block: impl FnOnce() -> Block) {
        let new = || Shelf { blocks: LruCache::unbounded(), bytes: 0 };
        let shelf = self.shelves.entry(owner.clone()).or_insert_with(new);
        if shelf.blocks.get(&key).is_none() {
            let block = block();
            shelf.bytes += block.bytes;
            self.bytes += block.bytes;
            shelf.blocks.put(key, block);
        }
        shelf.touch(before);
    }

    fn shrink(&mut self, max_bytes: u64) {
        while self.bytes > max_bytes {
            let Some((owner, shelf)) = self.shelves.iter_mut().max_by_key(|(_, shelf)| shelf.bytes) else { return };
            let Some((_, block)) = shelf.blocks.pop_lru() else { return };
            shelf.bytes -= block.bytes;
            self.bytes -= block.bytes;
            if shelf.blocks.is_empty() {
                let owner = owner.clone();
                self.shelves.remove(&owner);
            }
        }
    }
}

impl Shelf {
    /// Marks blocks as used, the first of a prompt as the last: a block goes before those that it stands behind, so that
    /// the bytes of what is kept are all that is kept.
    fn touch(&mut self, before: &[Key]) {
        for key in before.iter().rev() {
            self.blocks.promote(key);
        }
    }
}

#[cfg(test)]
mod tests;
