//! The parts of the model at the published widths, on CPU: `cargo bench -p benches --bench parts -- FILTER`.
//!
//! Stacks of equal layers are cut to two, so that a run needs neither a checkpoint nor 14 GB: multiply by the depth. The
//! diffusion head and the autoencoder are whole.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use criterion::{Criterion, criterion_group, criterion_main};
use unipic_models::diffusion::Head;
use unipic_models::mar::{self, ImageGrid};
use unipic_models::qwen2::{self, CacheUse, Run};
use unipic_models::{siglip2, vae};
use unipic_nn::{Build, Ops};
use unipic_weights::config::ModelConfig;

/// Layers of every stack.
const DEPTH: usize = 2;

/// Weights of any name: small, and different from value to value, so that no page is shared.
struct Values;

fn values(shape: Shape) -> Result<Tensor> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.05
    };
    Tensor::from_vec((0..shape.elem_count()).map(|_| next()).collect(), shape, &Device::Cpu)
}

impl SimpleBackend for Values {
    fn get(&self, shape: Shape, _: &str, _: Init, _: DType, _: &Device) -> Result<Tensor> {
        values(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} is asked for without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

fn build() -> Build<'static> {
    Build::new(VarBuilder::from_backend(Box::new(Values), DType::F32, Device::Cpu), Ops::Inference)
}

fn config() -> ModelConfig {
    let mut config = ModelConfig::unipic_1_5b();
    config.mar.depth = DEPTH;
    config.llm.num_hidden_layers = DEPTH;
    config.llm.vocab_size = 8192;
    config.siglip.num_hidden_layers = DEPTH;
    config
}

/// A probe of half an image at 512 px behind a prompt, and one token of text behind an image.
fn language_model(c: &mut Criterion) {
    let (build, config) = (build(), config().llm);
    let model = qwen2::Model::load(&build, &config).unwrap();
    let rows = |n: usize| values((n, config.hidden_size).into()).unwrap();
    let mut group = c.benchmark_group("language model, 2 of 28 layers");
    group.sample_size(10);
    for (name, n_past, n_rows) in [("probe of 576 rows", 24, 576), ("token behind 1080", 1080, 1)] {
        let mut cache = model.new_cache();
        let past = Run { n_rows: n_past, cache: CacheUse::Append(&mut cache) };
        model.forward(&rows(n_past), &mut [past]).unwrap();
        let x = rows(n_rows);
        group.bench_function(name, |b| {
            b.iter(|| model.forward(black_box(&x), &mut [Run { n_rows, cache: CacheUse::Read(&cache) }]).unwrap());
        });
    }
}

/// An image at 512 px of which half is known, both guidance branches in the decoder.
fn mar_stacks(c: &mut Criterion) {
    let (build, config) = (build(), config().mar);
    let (encoder, decoder) =
        (mar::Encoder::load(&build, &config).unwrap(), mar::Decoder::load(&build, &config).unwrap());
    let grid = ImageGrid { rows: 32, cols: 32 };
    let places: Vec<u32> = (0..512).collect();
    let reveal: Vec<u32> = (512..560).collect();
    let latents = values((512, 16).into()).unwrap();
    let mut group = c.benchmark_group("MAR, 2 of 20 blocks");
    group.sample_size(10);
    let visible = [mar::Visible { grid, places: &places }];
    group.bench_function("encoder, 512 of 1024 places", |b| {
        b.iter(|| encoder.forward(black_box(Some(&latents)), &visible).unwrap());
    });
    let canvas = || mar::Canvas { grid, places: &places, reveal: &reveal, source: None };
    let conditioned = values((2 * (config.buffer_size + 512), config.embed_dim).into()).unwrap();
    group.bench_function("decoder, 1024 places, both branches", |b| {
        b.iter(|| decoder.forward(black_box(&conditioned), &[canvas(), canvas()]).unwrap());
    });
}

/// One sampling step's network: the rows of one iteration, both branches.
fn diffusion_head(c: &mut Criterion) {
    let (build, config) = (build(), config().mar);
    let head = Head::load(&build, &config).unwrap();
    let mut group = c.benchmark_group("diffusion head");
    group.sample_size(10);
    for n in [2, 64, 256] {
        let (x, z) = (values((n, 16).into()).unwrap(), values((n, config.embed_dim).into()).unwrap());
        let timesteps = vec![500; n];
        group.bench_function(format!("{n} rows"), |b| b.iter(|| head.forward(black_box(&x), &timesteps, &z).unwrap()));
    }
}

/// An image at 512 px for the language model.
fn understanding(c: &mut Criterion) {
    let encoder = siglip2::Encoder::load(&build(), &config().siglip).unwrap();
    let pixels = values((3, 512, 512).into()).unwrap();
    let mut group = c.benchmark_group("SigLIP2, 2 of 27 layers");
    group.sample_size(10);
    group.bench_function("512 px", |b| b.iter(|| encoder.forward(black_box(&pixels)).unwrap()));
}

fn autoencoder(c: &mut Criterion) {
    let (build, config) = (build(), config().vae);
    let (encoder, decoder) =
        (vae::Encoder::load(&build, &config).unwrap(), vae::Decoder::load(&build, &config).unwrap());
    let (pixels, latents) = (values((1, 3, 256, 256).into()).unwrap(), values((1, 16, 16, 16).into()).unwrap());
    let mut group = c.benchmark_group("VAE");
    group.sample_size(10);
    group.bench_function("encode 256 px", |b| b.iter(|| encoder.encode(black_box(&pixels)).unwrap()));
    group.bench_function("decode 256 px", |b| b.iter(|| decoder.decode(black_box(&latents)).unwrap()));
}

criterion_group!(parts, language_model, mar_stacks, diffusion_head, understanding, autoencoder);
criterion_main!(parts);
