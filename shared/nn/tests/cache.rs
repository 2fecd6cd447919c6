//! The key-value cache: what it holds after any sequence of operations, and who sees whose writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candle_core::{DType, Tensor};
use proptest::prelude::*;
use support::{bits, random};
use unipic_nn::KvCache;
use unipic_nn::cache::LayerKv;

const LAYERS: usize = 2;
const WIDTH: usize = 3;

fn rows(seed: u64, n: usize) -> (Tensor, Tensor) {
    (random(seed, (n, WIDTH)), random(seed + 1, (n, WIDTH)))
}

fn append(cache: &mut KvCache, seed: u64, n: usize) {
    for layer in 0..LAYERS {
        let (k, v) = rows(seed + 10 * layer as u64, n);
        cache.append(layer, &k, &v).unwrap();
    }
}

fn joined(chunks: &[LayerKv]) -> Vec<u32> {
    chunks.iter().flat_map(|(k, _)| bits(k)).chain(chunks.iter().flat_map(|(_, v)| bits(v))).collect()
}

fn contents(cache: &KvCache) -> Vec<Vec<u32>> {
    (0..LAYERS).map(|layer| joined(&cache.layer(layer))).collect()
}

/// What one cache should hold: the rows of every layer, and how many of them may not be cut.
#[derive(Clone, Default)]
struct Model {
    appended: Vec<(u64, usize)>,
    shared: usize,
}

impl Model {
    fn len(&self) -> usize {
        self.appended.iter().map(|(_, n)| n).sum()
    }

    fn contents(&self) -> Vec<Vec<u32>> {
        let layer = |layer: u64| {
            let parts: Vec<LayerKv> = self
                .appended
                .iter()
                // Every step appends its seed's first rows, so that a cut step is a shorter one.
                .map(|&(seed, n)| {
                    let (k, v) = rows(seed + 10 * layer, 9);
                    (k.narrow(0, 0, n).unwrap(), v.narrow(0, 0, n).unwrap())
                })
                .collect();
            joined(&parts)
        };
        (0..LAYERS as u64).map(layer).collect()
    }

    fn truncate(&mut self, len: usize) {
        while self.len() > len {
            let excess = self.len() - len;
            match self.appended.last_mut() {
                Some(last) if last.1 > excess => last.1 -= excess,
                _ => drop(self.appended.pop()),
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Truncate(usize),
    Share,
    Clone,
    Drop,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        5 => (1_usize..9).prop_map(Step::Append),
        2 => (0_usize..100).prop_map(Step::Truncate),
        1 => Just(Step::Share),
        2 => Just(Step::Clone),
        1 => Just(Step::Drop),
    ];
    prop::collection::vec((0_usize..100, step), 1..40)
}

proptest! {
    #[test]
    fn any_sequence_of_operations(steps in steps()) {
        let mut caches = vec![(KvCache::new(LAYERS), Model::default())];
        let mut handed_out: Vec<(Vec<LayerKv>, Vec<u32>)> = vec![];
        for (i, (which, step)) in steps.into_iter().enumerate() {
            let which = which % caches.len();
            let (cache, model) = &mut caches[which];
            match step {
                Step::Append(n) => {
                    let seed = 100 * i as u64;
                    for layer in 0..LAYERS {
                        let (k, v) = rows(seed + 10 * layer as u64, 9);
                        cache.append(layer, &k.narrow(0, 0, n).unwrap(), &v.narrow(0, 0, n).unwrap()).unwrap();
                    }
                    model.appended.push((seed, n));
                }
                Step::Truncate(len) => {
                    let len = model.shared + len % (model.len() - model.shared + 1);
                    cache.truncate(len).unwrap();
                    model.truncate(len);
                }
                Step::Share => {
                    let other = cache.share();
                    model.shared = model.len();
                    let model = model.clone();
                    caches.push((other, model));
                }
                Step::Clone => {
                    let copy = caches[which].clone();
                    caches.push(copy);
                }
                Step::Drop if caches.len() > 1 => drop(caches.remove(which)),
                Step::Drop => {}
            }
            for (cache, model) in &caches {
                prop_assert_eq!(cache.len(), model.len());
                prop_assert_eq!(cache.is_empty(), model.len() == 0);
                prop_assert_eq!(contents(cache), model.contents());
            }
            // Chunks handed out stay as they were, whatever becomes of the cache.
            let chunks = caches[0].0.layer(0);
            let bits = joined(&chunks);
            handed_out.push((chunks, bits));
            for (chunks, bits) in &handed_out {
                prop_assert_eq!(&joined(chunks), bits);
            }
        }
    }
}

/// Token by token the memory grows by doubling, not once a token.
#[test]
fn tokens_are_written_in_place() {
    let mut cache = KvCache::new(LAYERS);
    append(&mut cache, 1, 100);
    assert_eq!(cache.tail_bytes(), LAYERS * 2 * 100 * WIDTH * 4);
    let mut sizes = vec![];
    for token in 0..900 {
        append(&mut cache, token, 1);
        sizes.push(cache.tail_bytes());
    }
    sizes.dedup();
    assert!(sizes.len() <= 5, "{sizes:?}");
    assert!(cache.tail_bytes() <= 2 * LAYERS * 2 * 1010 * WIDTH * 4);
    // Sharing gives the room to spare back.
    let other = cache.share();
    assert_eq!(other.shared_bytes(), LAYERS * 2 * 1000 * WIDTH * 4);
    assert_eq!((cache.tail_bytes(), cache.shared_bytes()), (0, other.shared_bytes()));
}

/// Keys of one sequence do not keep the whole batch they came from.
#[test]
fn a_view_is_copied() {
    let batch = random(1, (1000, WIDTH));
    let mut cache = KvCache::new(1);
    cache.append(0, &batch.narrow(0, 10, 5).unwrap(), &batch.narrow(0, 20, 5).unwrap()).unwrap();
    let (k, _) = &cache.layer(0)[0];
    let (storage, _) = k.storage_and_layout();
    let candle_core::Storage::Cpu(candle_core::CpuStorage::F32(values)) = &*storage else { panic!("not on CPU") };
    assert_eq!(values.len(), 5 * WIDTH);
}

#[test]
fn misfits_are_refused_and_change_nothing() {
    let mut cache = KvCache::new(LAYERS);
    append(&mut cache, 1, 4);
    append(&mut cache, 2, 1);
    let before = contents(&cache);
    let (k, v) = rows(3, 2);
    assert!(cache.append(0, &k, &v.narrow(0, 0, 1).unwrap()).is_err());
    assert!(cache.append(0, &random(1, (2, 4)), &random(1, (2, 4))).is_err());
    assert!(cache.append(0, &k.to_dtype(DType::F16).unwrap(), &v.to_dtype(DType::F16).unwrap()).is_err());
    assert!(cache.truncate(6).is_err());
    assert_eq!(contents(&cache), before);
    let mut other = cache.share();
    assert!(cache.truncate(4).is_err() && other.truncate(4).is_err());
    assert_eq!(contents(&other), before);
}

#[test]
fn what_caches_share_counts_once_among_them() {
    let mut one = KvCache::new(LAYERS);
    append(&mut one, 1, 4);
    let mut other = one.share();
    append(&mut other, 2, 2);
    let (blocks, tail) = (one.shared_bytes(), other.tail_bytes());
    assert!(blocks > 0 && tail > 0);
    let alien = {
        let mut alien = KvCache::new(LAYERS);
        append(&mut alien, 3, 4);
        alien.share()
    };
    assert_eq!(KvCache::total_bytes(&[one.clone(), other.clone()]), blocks + tail);
    assert_eq!(KvCache::total_bytes(&[one, other, alien]), 2 * blocks + tail);
    assert_eq!(KvCache::total_bytes(&[]), 0);
}

#[test]
fn blocks_are_cut_where_they_are_wanted_and_shared_one_by_one() {
    let mut cache = KvCache::new(LAYERS);
    append(&mut cache, 1, 4);
    drop(cache.share());
    append(&mut cache, 2, 7);
    append(&mut cache, 3, 5);
    let whole = contents(&cache);
    // Inside the frozen block, at its end, in the tail, at its end and beyond: only those in the tail cut.
    cache.freeze_at(&[2, 4, 9, 12, 16, 40]).unwrap();
    assert_eq!((contents(&cache), cache.block_ends()), (whole.clone(), vec![4, 9, 12, 16]));
    assert_eq!(cache.tail_bytes(), 0);
    let position = 2 * LAYERS * WIDTH * size_of::<f32>();
    assert_eq!([0, 1, 4].map(|block| cache.block_bytes(block)), [4 * position, 5 * position, 0]);
    let mut first = cache.first_blocks(2);
    assert_eq!((first.len(), first.block_ends()), (9, vec![4, 9]));
    append(&mut first, 5, 2);
    assert_eq!(contents(&cache), whole, "what grows behind a shared block is seen by nobody else");
    for (layer, chunks) in (0..LAYERS).map(|layer| (layer, first.layer(layer))) {
        assert_eq!(joined(&chunks[..2]), joined(&cache.layer(layer)[..2]));
    }
    cache.freeze_at(&[]).unwrap();
    assert_eq!(cache.block_ends().len(), 4, "nothing to freeze");
    assert_eq!(cache.first_blocks(99).len(), 16);
}
