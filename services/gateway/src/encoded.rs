//! Embeddings of images that were encoded before.
//!
//! A conversation sends its images again with every turn, and an encoder is the largest part of the work before an answer's
//! first token. So what an encoder made is kept for as long as there is room, under a key that holds everything it depends
//! on: the pixels as the encoder was to see them, the way through the encoders, and the weights. The tenant stands in the key
//! as well: nobody learns from a quick answer what somebody else has sent. Where room is short the tenant that holds most gives
//! way, as among the decoder's beginnings of prompts, so that a busy one empties its own shelf and not its neighbours'.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use sha2::{Digest, Sha256};
use unipic_api::pb;
use unipic_imaging::Rgb8;
use unipic_serving::Tenant;
use unipic_telemetry::metrics::Raised;

use crate::metrics::CacheMetrics;

/// What embeddings depend on, hashed.
type Hash = [u8; 32];

/// Under what embeddings are kept: whose they are, and all that they depend on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    tenant: Tenant,
    hash: Hash,
}

/// The embeddings that are kept.
pub(crate) struct EncodedCache<E> {
    kept: Mutex<Kept<E>>,
    max_bytes: u64,
    metrics: CacheMetrics,
}

struct Kept<E> {
    shelves: HashMap<Tenant, Shelf<E>>,
    bytes: u64,
}

/// What one tenant has here; the longest unused go first.
struct Shelf<E> {
    entries: LruCache<Hash, Entry<E>>,
    bytes: u64,
}

struct Entry<E> {
    embeddings: E,
    bytes: u64,
    /// Counts the bytes while the entry lives.
    _held: Raised,
}

impl<E> fmt::Debug for EncodedCache<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedCache").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

impl<E: Clone> EncodedCache<E> {
    /// Nothing yet, and never more than `max_bytes`; 0 keeps nothing.
    pub(crate) fn new(max_bytes: u64, metrics: CacheMetrics) -> Self {
        let kept = Kept { shelves: HashMap::new(), bytes: 0 };
        Self { kept: Mutex::new(kept), max_bytes, metrics }
    }

    /// Whether anything is kept at all; where not, no image need be hashed.
    pub(crate) fn is_kept(&self) -> bool {
        self.max_bytes > 0
    }

    /// The key of an image for a tenant.
    pub(crate) fn key(tenant: &Tenant, path: pb::EncoderPath, weights_sha256: &str, image: &Rgb8) -> Key {
        let mut hash = Sha256::new();
        // Lengths keep one field from running into the next.
        for field in [tenant.as_str().as_bytes(), path.as_str_name().as_bytes(), weights_sha256.as_bytes()] {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        hash.update(image.width.to_le_bytes());
        hash.update(image.height.to_le_bytes());
        hash.update(&image.data);
        Key { tenant: tenant.clone(), hash: hash.finalize().into() }
    }

    /// What was kept under a key.
    pub(crate) fn get(&self, key: &Key) -> Option<E> {
        if !self.is_kept() {
            return None;
        }
        let found = self.kept().get(key);
        self.metrics.looked_up(found.is_some());
        found
    }

    /// Keeps embeddings of so many bytes, and lets go of others for them; what is larger than all the room is not kept.
    pub(crate) fn put(&self, key: Key, embeddings: E, bytes: u64) {
        if bytes > self.max_bytes {
            return;
        }
        let entry = Entry { embeddings, bytes, _held: self.metrics.held(bytes) };
        let mut kept = self.kept();
        kept.put(key, entry);
        kept.shrink(self.max_bytes);
    }

    /// The entries. A thread that panicked cannot have left them inconsistent: nothing in their changes panics.
    fn kept(&self) -> MutexGuard<'_, Kept<E>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Clone> Kept<E> {
    fn get(&mut self, key: &Key) -> Option<E> {
        let entry = self.shelves.get_mut(&key.tenant)?.entries.get(&key.hash)?;
        Some(entry.embeddings.clone())
    }

    fn put(&mut self, key: Key, entry: Entry<E>) {
        let new = || Shelf { entries: LruCache::unbounded(), bytes: 0 };
        let shelf = self.shelves.entry(key.tenant).or_insert_with(new);
        shelf.bytes += entry.bytes;
        self.bytes += entry.bytes;
        if let Some(old) = shelf.entries.put(key.hash, entry) {
            shelf.bytes -= old.bytes;
            self.bytes -= old.bytes;
        }
    }

    fn shrink(&mut self, max_bytes: u64) {
        while self.bytes > max_bytes {
            let Some((tenant, shelf)) = self.shelves.iter_mut().max_by_key(|(_, shelf)| shelf.bytes) else { return };
            let Some((_, old)) = shelf.entries.pop_lru() else { return };
            shelf.bytes -= old.bytes;
            self.bytes -= old.bytes;
            if shelf.entries.is_empty() {
                let tenant = tenant.clone();
                self.shelves.remove(&tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use unipic_telemetry::Metrics;

    use super::*;

    fn cache(max_bytes: u64) -> EncodedCache<&'static str> {
        EncodedCache::new(max_bytes, CacheMetrics::new(&Metrics::default()))
    }

    fn image(value: u8) -> Rgb8 {
        Rgb8 { width: 2, height: 1, data: vec![value; 6] }
    }

    fn key(tenant: &str, path: pb::EncoderPath, weights: &str, value: u8) -> Key {
        EncodedCache::<()>::key(&Tenant::named(tenant), path, weights, &image(value))
    }

    fn mine(value: u8) -> Key {
        key("a", pb::EncoderPath::Mar, "w", value)
    }

    #[test]
    fn the_longest_unused_goes_first_and_the_bytes_are_never_exceeded() {
        let cache = cache(100);
        for (value, name) in [(1, "a"), (2, "b")] {
            cache.put(mine(value), name, 40);
        }
        assert_eq!(cache.get(&mine(1)), Some("a"));
        cache.put(mine(3), "c", 40);
        assert_eq!([1, 2, 3].map(|value| cache.get(&mine(value))), [Some("a"), None, Some("c")]);
        cache.put(mine(3), "c again", 100);
        assert_eq!([1, 3].map(|value| cache.get(&mine(value))), [None, Some("c again")]);
        cache.put(mine(4), "too large", 101);
        assert_eq!((cache.get(&mine(4)), cache.kept().bytes), (None, 100));
    }

    #[test]
    fn a_tenant_that_sends_much_pushes_out_its_own_and_not_its_neighbours() {
        let cache = cache(100);
        let of = |tenant, value| key(tenant, pb::EncoderPath::Mar, "w", value);
        cache.put(of("quiet", 0), "kept", 20);
        for value in 0..50 {
            cache.put(of("busy", value), "one of many", 20);
        }
        assert_eq!(cache.get(&of("quiet", 0)), Some("kept"));
        assert_eq!([45, 46, 49].map(|value| cache.get(&of("busy", value)).is_some()), [false, true, true]);
        // Whoever comes new takes from the one that holds most.
        cache.put(of("third", 0), "new", 40);
        assert_eq!((cache.get(&of("quiet", 0)), cache.get(&of("third", 0))), (Some("kept"), Some("new")));
        assert_eq!(cache.kept().bytes, 100);
        // Not even at once: what would take all the room is its tenant's alone, and nothing is left of an empty shelf.
        cache.put(of("third", 1), "all the room", 100);
        assert_eq!((cache.get(&of("third", 1)), cache.get(&of("quiet", 0))), (None, Some("kept")));
        let kept = cache.kept();
        assert_eq!((kept.shelves.len(), kept.bytes), (2, 60));
    }

    #[test]
    fn nothing_is_kept_where_there_is_no_room() {
        let cache = cache(0);
        cache.put(mine(1), "a", 0);
        assert_eq!(cache.get(&mine(1)), None);
    }

    /// Each part of a key alone makes another one.
    #[test]
    fn keys_hold_everything_that_embeddings_depend_on() {
        use pb::EncoderPath::{Mar, Siglip2};
        let keys = [
            key("a", Siglip2, "w", 1),
            key("b", Siglip2, "w", 1),
            key("a", Mar, "w", 1),
            key("a", Siglip2, "v", 1),
            key("a", Siglip2, "w", 2),
            EncodedCache::<()>::key(&Tenant::named("a"), Siglip2, "w", &Rgb8 { width: 1, height: 2, data: vec![1; 6] }),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[i + 1..].contains(key), "{i}");
        }
        assert_eq!(keys[0], key("a", Siglip2, "w", 1));
    }
}
