//! Embeddings of images that were encoded before.
//!
//! A conversation sends its images again with every turn, and an encoder is the largest part of the work before an answer's
//! first token. So what an encoder made is kept for as long as there is room, under a key that holds everything it depends
//! on: the pixels as the encoder was to see them, the way through the encoders, and the weights. The tenant stands in the key
//! as well: nobody learns from a quick answer what somebody else has sent.

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
pub(crate) type Key = [u8; 32];

/// The embeddings that are kept; the longest unused go first.
pub(crate) struct EncodedCache<E> {
    kept: Mutex<Kept<E>>,
    max_bytes: u64,
    metrics: CacheMetrics,
}

struct Kept<E> {
    entries: LruCache<Key, Entry<E>>,
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
        let kept = Kept { entries: LruCache::unbounded(), bytes: 0 };
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
        hash.finalize().into()
    }

    /// What was kept under a key.
    pub(crate) fn get(&self, key: &Key) -> Option<E> {
        if !self.is_kept() {
            return None;
        }
        let found = self.kept().entries.get(key).map(|entry| entry.embeddings.clone());
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
        kept.bytes += bytes;
        if let Some(old) = kept.entries.put(key, entry) {
            kept.bytes -= old.bytes;
        }
        while kept.bytes > self.max_bytes {
            let Some((_, old)) = kept.entries.pop_lru() else { break };
            kept.bytes -= old.bytes;
        }
    }

    /// The entries. A thread that panicked cannot have left them inconsistent: nothing in their changes panics.
    fn kept(&self) -> MutexGuard<'_, Kept<E>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn the_longest_unused_goes_first_and_the_bytes_are_never_exceeded() {
        let cache = cache(100);
        for (key, name) in [(1, "a"), (2, "b")] {
            cache.put([key; 32], name, 40);
        }
        assert_eq!(cache.get(&[1; 32]), Some("a"));
        cache.put([3; 32], "c", 40);
        assert_eq!([1, 2, 3].map(|key| cache.get(&[key; 32])), [Some("a"), None, Some("c")]);
        cache.put([3; 32], "c again", 100);
        assert_eq!([1, 3].map(|key| cache.get(&[key; 32])), [None, Some("c again")]);
        cache.put([4; 32], "too large", 101);
        assert_eq!((cache.get(&[4; 32]), cache.kept().bytes), (None, 100));
    }

    #[test]
    fn nothing_is_kept_where_there_is_no_room() {
        let cache = cache(0);
        cache.put([1; 32], "a", 0);
        assert_eq!(cache.get(&[1; 32]), None);
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
