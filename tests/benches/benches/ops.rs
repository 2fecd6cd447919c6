//! The numeric blocks at the model's real widths, on CPU: `cargo bench -p benches --bench ops -- FILTER`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::hint::black_box;

use candle_core::{DType, Device, Shape, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use unipic_nn::activation::{gelu_erf, gelu_tanh, silu, swiglu};
use unipic_nn::{
    AttentionSegment, Build, Conv2d, GroupNorm, HeadLayout, LayerNorm, Linear, LinearFormat, Mask, Ops, RmsNorm,
    Rotary, attend,
};

/// Values in [-0.5, 0.5) that no kernel can treat as special.
fn values(shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    Tensor::from_vec((0..shape.elem_count()).map(|_| next()).collect(), shape, &Device::Cpu).unwrap()
}

fn build(ops: Ops, weight: &[usize], bias: usize) -> Build<'static> {
    let tensors = HashMap::from([("weight".to_string(), values(weight)), ("bias".to_string(), values(bias))]);
    Build::new(candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), ops)
}

/// The language model's MLP: one token, a guidance pair, a batch of tokens, the places of an image.
fn linear(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    group.sample_size(10);
    for (n_in, n_out) in [(1536, 8960), (8960, 1536)] {
        for (name, ops, format) in [
            ("dense", Ops::Inference, LinearFormat::Dense),
            ("q8_0", Ops::Inference, LinearFormat::Q8_0),
            ("reference", Ops::Reference, LinearFormat::Dense),
        ] {
            let build = build(ops, &[n_out, n_in], n_out).with_linear_format(format);
            let layer = Linear::load(&build, n_in, n_out).unwrap();
            for rows in [1, 2, 128, 1088] {
                let x = values((rows, n_in));
                group.throughput(Throughput::Elements(2 * (rows * n_in * n_out) as u64));
                group.bench_function(BenchmarkId::new(format!("{name} {n_in}x{n_out}"), rows), |b| {
                    b.iter(|| layer.forward(black_box(&x)).unwrap());
                });
            }
        }
    }
}

/// MAR blocks and prefill at 512 and 1024 px, and one token of text behind a long past.
fn attention(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    group.sample_size(10);
    let mar = HeadLayout { n_heads: 16, n_kv_heads: 16, head_dim: 80 };
    let llm = HeadLayout { n_heads: 12, n_kv_heads: 2, head_dim: 128 };
    for (name, layout, mask, n_past, n_rows) in [
        ("mar", mar, Mask::Full, 0, 1088),
        ("mar", mar, Mask::Full, 0, 4160),
        ("llm", llm, Mask::Causal, 100, 1088),
        ("llm", llm, Mask::Causal, 0, 4160),
        ("llm", llm, Mask::Causal, 999, 1),
        ("llm", llm, Mask::Causal, 4999, 1),
    ] {
        let width = layout.n_kv_heads * layout.head_dim;
        let (q, k, v) =
            (values((n_rows, layout.n_heads * layout.head_dim)), values((n_rows, width)), values((n_rows, width)));
        let past = if n_past > 0 { vec![(values((n_past, width)), values((n_past, width)))] } else { vec![] };
        let segments = [AttentionSegment { n_rows, past, mask }];
        for ops in [Ops::Inference, Ops::Reference] {
            group.bench_function(BenchmarkId::new(format!("{name} {ops:?}"), format!("{n_past}+{n_rows}")), |b| {
                b.iter(|| attend(ops, black_box(&q), &k, &v, &segments, layout).unwrap());
            });
        }
    }
}

/// The autoencoder's widest and narrowest levels, at a quarter of their size for 1024 px.
fn convolution(c: &mut Criterion) {
    let mut group = c.benchmark_group("convolution");
    group.sample_size(10);
    for (channels, side) in [(128, 256), (512, 64)] {
        let x = values((1, channels, side, side));
        group.throughput(Throughput::Elements(2 * 9 * (channels * channels * side * side) as u64));
        for ops in [Ops::Inference, Ops::Reference] {
            let id = |name| BenchmarkId::new(format!("{name} {ops:?}"), format!("{channels}x{side}x{side}"));
            let conv = Conv2d::load(&build(ops, &[channels, channels, 3, 3], channels), channels, channels, 3, 1, 1);
            let norm = GroupNorm::load(&build(ops, &[channels], channels), channels, 32, 1e-6);
            let (conv, norm) = (conv.unwrap(), norm.unwrap());
            group.bench_function(id("conv"), |b| b.iter(|| conv.forward(black_box(&x)).unwrap()));
            group.bench_function(id("norm, swish, conv"), |b| {
                b.iter(|| conv.forward_normed(black_box(&x), &norm).unwrap());
            });
            group.bench_function(id("group norm"), |b| b.iter(|| norm.forward(black_box(&x)).unwrap()));
        }
    }
}

/// What stands between the products, over the rows of one image of 512 px.
fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("rows");
    group.sample_size(10);
    let (n_rows, width, hidden) = (1088, 1536, 8960);
    let (x, wide) = (values((n_rows, width)), values((n_rows, hidden)));
    let positions: Vec<usize> = (0..n_rows).collect();
    let angles = Rotary::new(128, 1e6).angles(&positions, &Device::Cpu).unwrap();
    for ops in [Ops::Inference, Ops::Reference] {
        let build = build(ops, &[width], width);
        let layer = LayerNorm::load(&build, width, 1e-6).unwrap();
        let bare = LayerNorm::without_affine(ops, 1e-6);
        let rms = RmsNorm::load(&build, width, 1e-6).unwrap();
        let id = |name| BenchmarkId::new(name, format!("{ops:?}"));
        group.bench_function(id("layer norm"), |b| b.iter(|| layer.forward(black_box(&x)).unwrap()));
        group.bench_function(id("bare layer norm"), |b| b.iter(|| bare.forward(black_box(&x)).unwrap()));
        group.bench_function(id("rms norm"), |b| b.iter(|| rms.forward(black_box(&x)).unwrap()));
        group.bench_function(id("rotary"), |b| b.iter(|| angles.rotate(ops, black_box(&x)).unwrap()));
    }
    group.bench_function("silu", |b| b.iter(|| silu(black_box(&wide)).unwrap()));
    group.bench_function("gelu by erf", |b| b.iter(|| gelu_erf(black_box(&wide)).unwrap()));
    group.bench_function("gelu by tanh", |b| b.iter(|| gelu_tanh(black_box(&wide)).unwrap()));
    group.bench_function("swiglu", |b| b.iter(|| swiglu(black_box(&wide), &wide).unwrap()));
}

criterion_group!(benches, linear, attention, convolution, rows);
criterion_main!(benches);
