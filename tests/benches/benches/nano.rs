//! The embedded model's parts at the sizes that serving has, for one request and for eight in a batch, on CPU:
//! `cargo bench -p benches --bench nano -- FILTER`.
//!
//! Its layers are so narrow that what a product costs beside its multiplications shows, which it does not in `parts`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use candle_core::{Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use unipic_models::diffusion::Head;
use unipic_models::load::LoadOptions;
use unipic_models::mar::{self, ImageGrid};
use unipic_models::qwen2::{self, CacheUse, Run};
use unipic_models::vae;
use unipic_nn::Build;
use unipic_weights::Part;
use unipic_weights::config::ModelConfig;

/// As in the binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests of a batch.
const AT_ONCE: [usize; 2] = [1, 8];
const GRID: ImageGrid = ImageGrid { rows: 8, cols: 8 };

fn model() -> (Build<'static>, ModelConfig) {
    let checkpoint = unipic_models::nano::checkpoint().unwrap();
    let options = LoadOptions::cpu();
    let tensors = options.load(&checkpoint, &Part::ALL).unwrap();
    (options.build(&tensors), checkpoint.config().clone())
}

fn values(n_rows: usize, width: usize) -> Tensor {
    let value = |i: usize| ((i * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
    Tensor::from_vec((0..n_rows * width).map(value).collect(), (n_rows, width), &Device::Cpu).unwrap()
}

/// Half of the image known, four places asked for; both guidance branches in the decoder.
fn mar_stacks(c: &mut Criterion) {
    let (build, config) = model();
    let config = config.mar;
    let (encoder, decoder) =
        (mar::Encoder::load(&build, &config).unwrap(), mar::Decoder::load(&build, &config).unwrap());
    let (places, reveal): (Vec<u32>, Vec<u32>) = ((0..32).collect(), (32..36).collect());
    let mut group = c.benchmark_group("nano MAR");
    for n in AT_ONCE {
        let (latents, visible) = (values(n * 32, 16), vec![mar::Visible { grid: GRID, places: &places }; n]);
        group.bench_function(format!("encoder, {n} images"), |b| {
            b.iter(|| encoder.forward(black_box(Some(&latents)), &visible).unwrap());
        });
        let conditioned = values(2 * n * (config.buffer_size + 32), config.embed_dim);
        let canvases = vec![mar::Canvas { grid: GRID, places: &places, reveal: &reveal, source: None }; 2 * n];
        group.bench_function(format!("decoder, {n} images"), |b| {
            b.iter(|| decoder.forward(black_box(&conditioned), &canvases).unwrap());
        });
    }
}

/// The network of one sampling step: four places an image, both branches.
fn diffusion_head(c: &mut Criterion) {
    let (build, config) = model();
    let head = Head::load(&build, &config.mar).unwrap();
    let mut group = c.benchmark_group("nano diffusion head");
    for n in AT_ONCE {
        let rows = values(8 * n, config.mar.diffloss_w);
        group.bench_function(format!("step of {n} images"), |b| {
            b.iter(|| head.predict(black_box(&rows), &rows, &rows).unwrap());
        });
    }
}

/// A probe of both branches of half an image behind a prompt.
fn language_model(c: &mut Criterion) {
    let (build, config) = model();
    let model = qwen2::Model::load(&build, &config.llm).unwrap();
    let mut cache = model.new_cache();
    let past = Run { n_rows: 24, cache: CacheUse::Append(&mut cache) };
    model.forward(&values(24, config.llm.hidden_size), &mut [past]).unwrap();
    let mut group = c.benchmark_group("nano language model");
    for n in AT_ONCE {
        let x = values(2 * n * 40, config.llm.hidden_size);
        group.bench_function(format!("probe of {n} images"), |b| {
            b.iter(|| {
                let mut runs: Vec<_> = (0..2 * n).map(|_| Run { n_rows: 40, cache: CacheUse::Read(&cache) }).collect();
                model.forward(black_box(&x), &mut runs).unwrap()
            });
        });
    }
}

fn autoencoder(c: &mut Criterion) {
    let (build, config) = model();
    let decoder = vae::Decoder::load(&build, &config.vae).unwrap();
    let latents = values(64, 16).reshape((1, 8, 8, 16)).unwrap();
    c.bench_function("nano VAE, decode 128 px", |b| b.iter(|| decoder.decode(black_box(&latents)).unwrap()));
}

criterion_group!(nano, mar_stacks, diffusion_head, language_model, autoencoder);
criterion_main!(nano);
