use candle_core::{DType, Device, Tensor};
use unipic_telemetry::{Metrics, TelemetryConfig};

use super::*;
use crate::plan::Unit;

fn image(value: f32, n: usize) -> Unit {
    Unit::Embeddings((Tensor::ones((n, 4), DType::F32, &Device::Cpu).unwrap() * f64::from(value)).unwrap())
}

fn text(text: &str) -> Vec<Unit> {
    text.bytes().map(|byte| Unit::Id(u32::from(byte))).collect()
}

fn of(tenant: &str, units: &[Unit]) -> Keys {
    Keys::new(Owner::Tenant(tenant.into()), "w", units).unwrap()
}

/// A cache of one layer with these blocks; a position takes 32 bytes.
fn blocks(lengths: &[usize]) -> KvCache {
    let mut cache = KvCache::new(1);
    for n in lengths {
        let rows = Tensor::ones((*n, 4), DType::F32, &Device::Cpu).unwrap();
        cache.append(0, &rows, &rows).unwrap();
        drop(cache.share());
    }
    cache
}

struct Desk {
    cache: PrefixCache,
    process: Metrics,
    metrics: DecoderMetrics,
}

impl Desk {
    fn new(max_bytes: u64) -> Self {
        let process = Metrics::new(&TelemetryConfig::for_service("test")).unwrap();
        let metrics = DecoderMetrics::new(&process, "cpu", 7);
        Self { cache: PrefixCache::new(max_bytes), process, metrics }
    }

    fn keep(&self, keys: &Keys, lengths: &[usize]) {
        self.cache.keep(keys, &blocks(lengths), &self.metrics);
    }

    /// Units and positions of the longest beginning.
    fn find(&self, keys: &Keys) -> Option<(usize, usize)> {
        self.cache.find(keys, usize::MAX, &self.metrics).map(|found| (found.n_units, found.cache.len()))
    }

    fn tells(&self, line: &str) -> bool {
        self.process.render().lines().any(|found| found == line)
    }
}

#[test]
fn a_prompt_begins_with_the_longest_of_what_was_computed() {
    let desk = Desk::new(1 << 20);
    let first = [&text("ab")[..], &[image(1.0, 5)], &text("cd")].concat();
    desk.keep(&of("a", &first), &[7, 2]);
    assert_eq!(desk.find(&of("a", &first)), Some((5, 9)));
    assert_eq!(desk.find(&of("a", &[&first[..], &text("ef")].concat())), Some((5, 9)), "a later turn");
    assert_eq!(desk.find(&of("a", &[&first[..3], &text("xyz")].concat())), Some((3, 7)), "other words for the image");
    assert_eq!(desk.find(&of("a", &first[..2])), None, "no block ends there");
    let other = [&text("ab")[..], &[image(2.0, 5)], &text("cd")].concat();
    assert_eq!(desk.find(&of("a", &other)), None, "another image");
    assert_eq!(desk.cache.find(&of("a", &first), 4, &desk.metrics).map(|found| found.n_units), Some(3));
    assert!(desk.tells("unipic_decoder_prefix_cache_lookups_total{outcome=\"hit\",scope=\"tenant\"} 4"));
    assert!(desk.tells("unipic_decoder_prefix_cache_lookups_total{outcome=\"miss\",scope=\"tenant\"} 2"));
    assert!(desk.tells("unipic_decoder_prefix_cache_positions_total{scope=\"tenant\"} 32"));
}

#[test]
fn nothing_is_found_across_tenants_but_what_is_everybodys() {
    let desk = Desk::new(1 << 20);
    let units = text("abc");
    desk.keep(&of("a", &units), &[3]);
    assert_eq!(desk.find(&of("b", &units)), None);
    let common = |weights| Keys::new(Owner::Everyone, weights, &units).unwrap();
    assert_eq!(desk.find(&common("w")), None);
    desk.keep(&common("w"), &[3]);
    assert_eq!(desk.find(&common("w")), Some((3, 3)));
    assert_eq!(desk.find(&common("v")), None, "of other weights");
    assert_eq!(desk.find(&of("b", &units)), None, "a user's text is never everybody's");
}

#[test]
fn bytes_are_never_exceeded_and_who_holds_most_gives_way() {
    let desk = Desk::new(32 * 20);
    let prompts: Vec<Keys> = ["p", "q", "r", "s"].map(|name| of("busy", &[text(name), text("....")].concat())).into();
    desk.keep(&of("calm", &text("abc")), &[3]);
    for keys in &prompts {
        desk.keep(keys, &[2, 3]);
        assert!(desk.cache.kept().bytes <= 32 * 20);
    }
    let found: Vec<bool> = prompts.iter().map(|keys| desk.find(keys).is_some()).collect();
    assert_eq!(found, [true; 4], "of the oldest its first block is left");
    assert_eq!(desk.find(&prompts[0]), Some((2, 2)), "the last block of a prompt goes first");
    assert_eq!(desk.find(&of("calm", &text("abc"))), Some((3, 3)), "a neighbour keeps its own");
    desk.keep(&of("huge", &text(&"x".repeat(21))), &[21]);
    assert_eq!(desk.find(&of("huge", &text(&"x".repeat(21)))), None, "larger than all the room");
    assert!(
        desk.tells("unipic_device_memory_bytes{device=\"cpu\",kind=\"prefixes\"} 640"),
        "{}",
        desk.process.render()
    );
    desk.cache.clear();
    assert!(desk.tells("unipic_device_memory_bytes{device=\"cpu\",kind=\"prefixes\"} 0"));
}

#[test]
fn nothing_is_kept_where_there_is_no_room() {
    let desk = Desk::new(0);
    desk.keep(&of("a", &text("abc")), &[3]);
    assert_eq!(desk.find(&of("a", &text("abc"))), None);
}
