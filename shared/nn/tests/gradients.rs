//! The reference form gives gradients to every input, and they are those of finite differences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::VarBuilder;
use support::random;
use unipic_nn::activation::{gelu_erf, gelu_tanh, silu, swiglu};
use unipic_nn::linear::matmul_rows;
use unipic_nn::{
    AttentionSegment, Build, Conv2d, GroupNorm, HeadLayout, LayerNorm, Linear, Mask, Ops, RmsNorm, Rotary, attend,
};

/// Names and shapes of an operation's inputs, and the operation over them.
type Case = (&'static str, Vec<(&'static str, Vec<usize>)>, fn(&HashMap<String, Tensor>) -> Result<Tensor>);

fn build(tensors: &HashMap<String, Tensor>) -> Build<'static> {
    Build::new(VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu), Ops::Reference)
}

fn attention(t: &HashMap<String, Tensor>, mask: Mask) -> Result<Tensor> {
    let layout = HeadLayout { n_heads: 4, n_kv_heads: 2, head_dim: 4 };
    let past = vec![(t["past_k"].clone(), t["past_v"].clone())];
    let segments = [AttentionSegment { n_rows: 2, past, mask }, AttentionSegment { n_rows: 3, past: vec![], mask }];
    attend(Ops::Reference, &t["q"], &t["k"], &t["v"], &segments, layout)
}

fn cases() -> Vec<Case> {
    let wide = |name| (name, vec![3, 8]);
    let image = |name| (name, vec![2, 4, 5, 6]);
    let qkv = || {
        vec![("q", vec![5, 16]), ("k", vec![5, 8]), ("v", vec![5, 8]), ("past_k", vec![3, 8]), ("past_v", vec![3, 8])]
    };
    let affine = |n: usize| [("weight", vec![n]), ("bias", vec![n])];
    let with = |x, rest: &[(&'static str, Vec<usize>)]| [&[x], rest].concat();
    vec![
        ("causal attention", qkv(), |t| attention(t, Mask::Causal)),
        ("full attention", qkv(), |t| attention(t, Mask::Full)),
        ("linear", with(wide("x"), &[("weight", vec![5, 8]), ("bias", vec![5])]), |t| {
            Linear::load(&build(t), 8, 5)?.forward(&t["x"])
        }),
        ("matmul", with(wide("x"), &[("weight", vec![5, 8])]), |t| matmul_rows(&t["x"], &t["weight"].t()?)),
        ("layer norm", with(wide("x"), &affine(8)), |t| LayerNorm::load(&build(t), 8, 1e-6)?.forward(&t["x"])),
        ("bare layer norm", vec![wide("x")], |t| LayerNorm::without_affine(Ops::Reference, 1e-6).forward(&t["x"])),
        ("rms norm", with(wide("x"), &affine(8)[..1]), |t| RmsNorm::load(&build(t), 8, 1e-6)?.forward(&t["x"])),
        ("group norm", with(image("x"), &affine(4)), |t| GroupNorm::load(&build(t), 4, 2, 1e-6)?.forward(&t["x"])),
        ("convolution", with(image("x"), &[("weight", vec![3, 4, 3, 3]), ("bias", vec![3])]), |t| {
            Conv2d::load(&build(t), 4, 3, 3, 1, 1)?.forward(&t["x"])
        }),
        ("upsampled convolution", with(image("x"), &[("weight", vec![3, 4, 3, 3]), ("bias", vec![3])]), |t| {
            Conv2d::load(&build(t), 4, 3, 3, 1, 1)?.forward_upsampled(&t["x"])
        }),
        (
            "normed convolution onto",
            vec![
                image("x"),
                ("conv.weight", vec![4, 4, 3, 3]),
                ("conv.bias", vec![4]),
                ("norm.weight", vec![4]),
                ("norm.bias", vec![4]),
                image("residual"),
            ],
            |t| {
                let norm = GroupNorm::load(&build(t).pp("norm"), 4, 2, 1e-6)?;
                let conv = Conv2d::load(&build(t).pp("conv"), 4, 4, 3, 1, 1)?;
                conv.forward_normed_onto(&t["x"], &norm, t["residual"].clone())
            },
        ),
        ("rotary", vec![wide("x")], |t| {
            Rotary::new(4, 1e4).angles(&[0, 3, 9], &Device::Cpu)?.rotate(Ops::Reference, &t["x"])
        }),
        ("silu", vec![wide("x")], |t| silu(&t["x"])),
        ("gelu by erf", vec![wide("x")], |t| gelu_erf(&t["x"])),
        ("gelu by tanh", vec![wide("x")], |t| gelu_tanh(&t["x"])),
        ("swiglu", vec![wide("x"), wide("up")], |t| swiglu(&t["x"], &t["up"])),
    ]
}

/// Σ y·c for fixed random c: a scalar whose gradient sees every output.
fn loss(y: &Tensor) -> Tensor {
    (y * random(99, y.shape()).to_dtype(y.dtype()).unwrap()).unwrap().sum_all().unwrap()
}

#[test]
fn every_input_of_every_operation_gets_its_gradient() {
    for (case, inputs, run) in cases() {
        let vars: HashMap<String, Var> = (inputs.iter().enumerate())
            .map(|(i, (name, shape))| {
                (name.to_string(), Var::from_tensor(&random(i as u64, shape.as_slice())).unwrap())
            })
            .collect();
        let tensors: HashMap<String, Tensor> =
            vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        let gradients = loss(&run(&tensors).unwrap()).backward().unwrap();
        for (name, var) in &vars {
            let gradient = gradients.get(var).unwrap_or_else(|| panic!("{case}: no gradient for {name}"));
            assert_eq!(gradient.shape(), var.shape(), "{case}: {name}");
            // The directional derivative along a random direction.
            let direction = random(77, var.shape());
            let expected = (gradient * &direction).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            let at = |step: f64| {
                let mut moved: HashMap<String, Tensor> = tensors.iter().map(|(n, t)| (n.clone(), t.detach())).collect();
                moved.insert(name.clone(), (var.as_tensor().detach() + (&direction * step).unwrap()).unwrap());
                loss(&run(&moved).unwrap()).to_scalar::<f32>().unwrap()
            };
            let step = 4e-3;
            let measured = (at(step) - at(-step)) / (2.0 * step as f32);
            assert!(
                (measured - expected).abs() <= 2e-2 * expected.abs().max(1.0),
                "{case}: {name}: {measured}, {expected}"
            );
        }
    }
}
