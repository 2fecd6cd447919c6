//! The service on the small model: its numbers, its company, and what it refuses, in process and over the wire.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod core;
mod deadlines;
mod observed;
mod prefixes;
mod wire;

use candle_core::{DType, Device, Tensor};
use unipic_decoder::{DEFAULT_PREFIX_BYTES, Decoder, Parts};
use unipic_engine::{Engine, EngineConfig};
use unipic_models::load::LoadOptions;
use unipic_test_support::tiny_a;
use unipic_weights::Checkpoint;

/// Width of the small model's hidden states.
const WIDTH: usize = 64;
/// Its context length.
const CONTEXT: usize = 4096;

fn start() -> Decoder {
    start_of(&tiny_a())
}

fn start_of(folder: &std::path::Path) -> Decoder {
    start_keeping(folder, DEFAULT_PREFIX_BYTES)
}

fn start_keeping(folder: &std::path::Path, prefix_bytes: u64) -> Decoder {
    start_with_room(folder, prefix_bytes, 64)
}

/// With a queue for so many jobs.
fn start_with_room(folder: &std::path::Path, prefix_bytes: u64, queue_capacity: usize) -> Decoder {
    let config = EngineConfig { name: "test".into(), queue_capacity, max_batch_tokens: 2048 };
    let parts = Parts::load(&Checkpoint::open(folder).unwrap(), &LoadOptions::cpu()).unwrap();
    Decoder::keeping(&Engine::spawn(config).unwrap(), parts, prefix_bytes)
}

/// Embeddings `[n, WIDTH]` that differ from seed to seed.
fn rows(n: usize, seed: usize) -> Tensor {
    let values: Vec<f32> = (0..n * WIDTH).map(|i| ((i * 37 + seed * 1013) % 997) as f32 / 997.0 - 0.5).collect();
    Tensor::from_vec(values, (n, WIDTH), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
}
