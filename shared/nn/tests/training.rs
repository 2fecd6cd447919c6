//! The training form gives the values and every gradient of the reference form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::VarBuilder;
use support::{assert_close, random};
use unipic_nn::{
    AttentionSegment, Build, Conv2d, GroupNorm, HeadLayout, LayerNorm, Linear, Mask, Ops, RmsNorm, Rotary, activation,
    attend, attend_joint,
};

type Tensors = HashMap<String, Tensor>;

/// Names and shapes of an operation's inputs, and the operation over them.
type Case = (&'static str, Vec<(&'static str, Vec<usize>)>, fn(&Tensors, Ops) -> Result<Tensor>);

fn build(tensors: &Tensors, ops: Ops) -> Build<'static> {
    Build::new(VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu), ops)
}

fn segments(mask: Mask) -> Vec<AttentionSegment> {
    [37, 1, 70].map(|n_rows| AttentionSegment { n_rows, past: vec![], mask }).to_vec()
}

fn conv(t: &Tensors, ops: Ops, sizes: (usize, usize), steps: (usize, usize, usize)) -> Result<Conv2d> {
    Conv2d::load(&build(t, ops).pp("conv"), sizes.0, sizes.1, steps.0, steps.1, steps.2)
}

fn filters(n_in: usize, n_out: usize, kernel: usize) -> [(&'static str, Vec<usize>); 2] {
    [("conv.weight", vec![n_out, n_in, kernel, kernel]), ("conv.bias", vec![n_out])]
}

fn cases() -> Vec<Case> {
    let rows = |name| (name, vec![133, 24]);
    let with = |x, rest: &[(&'static str, Vec<usize>)]| [&[x], rest].concat();
    let qkv = || vec![("q", vec![108, 96]), ("k", vec![108, 48]), ("v", vec![108, 48])];
    let grouped = HeadLayout { n_heads: 6, n_kv_heads: 3, head_dim: 16 };
    assert_eq!(grouped.n_heads * grouped.head_dim, 96);
    let image = || ("x", vec![2, 20, 18, 10]);
    let affine = [("norm.weight", vec![20]), ("norm.bias", vec![20])];
    vec![
        ("linear", with(rows("x"), &[("weight", vec![40, 24]), ("bias", vec![40])]), |t, ops| {
            Linear::load(&build(t, ops), 24, 40)?.forward(&t["x"])
        }),
        ("linear without bias", with(rows("x"), &[("weight", vec![40, 24])]), |t, ops| {
            Linear::load_without_bias(&build(t, ops), 24, 40)?.forward(&t["x"])
        }),
        ("layer norm", with(rows("x"), &[("weight", vec![24]), ("bias", vec![24])]), |t, ops| {
            LayerNorm::load(&build(t, ops), 24, 1e-6)?.forward(&t["x"])
        }),
        ("bare layer norm", vec![rows("x")], |t, ops| LayerNorm::without_affine(ops, 1e-6).forward(&t["x"])),
        ("rms norm", with(rows("x"), &[("weight", vec![24])]), |t, ops| {
            RmsNorm::load(&build(t, ops), 24, 1e-6)?.forward(&t["x"])
        }),
        ("rotary", vec![("x", vec![3, 24])], |t, ops| {
            Rotary::new(12, 1e4).angles(&[0, 3, 9], &Device::Cpu)?.rotate(ops, &t["x"])
        }),
        ("causal attention", qkv(), |t, ops| {
            let layout = HeadLayout { n_heads: 6, n_kv_heads: 3, head_dim: 16 };
            attend(ops, &t["q"], &t["k"], &t["v"], &segments(Mask::Causal), layout)
        }),
        ("full attention", qkv(), |t, ops| {
            let layout = HeadLayout { n_heads: 6, n_kv_heads: 3, head_dim: 16 };
            attend(ops, &t["q"], &t["k"], &t["v"], &segments(Mask::Full), layout)
        }),
        ("joint attention", vec![("qkv", vec![108, 144])], |t, ops| {
            attend_joint(ops, &t["qkv"], &segments(Mask::Full), HeadLayout { n_heads: 3, n_kv_heads: 3, head_dim: 16 })
        }),
        ("convolution", with(image(), &filters(20, 35, 3)), |t, ops| {
            conv(t, ops, (20, 35), (3, 1, 1))?.forward(&t["x"])
        }),
        ("pointwise convolution", with(image(), &filters(20, 7, 1)), |t, ops| {
            conv(t, ops, (20, 7), (1, 1, 0))?.forward(&t["x"])
        }),
        ("strided convolution", with(("x", vec![2, 20, 19, 11]), &filters(20, 35, 3)), |t, ops| {
            conv(t, ops, (20, 35), (3, 2, 0))?.forward(&t["x"])
        }),
        ("strided convolution that leaves a rest", with(image(), &filters(20, 3, 3)), |t, ops| {
            conv(t, ops, (20, 3), (3, 2, 0))?.forward(&t["x"])
        }),
        ("strided convolution with zeros around", with(image(), &filters(20, 3, 3)), |t, ops| {
            conv(t, ops, (20, 3), (3, 2, 1))?.forward(&t["x"])
        }),
        ("upsampled convolution", with(image(), &filters(20, 5, 3)), |t, ops| {
            conv(t, ops, (20, 5), (3, 1, 1))?.forward_upsampled(&t["x"])
        }),
        ("normed convolution", with(image(), &[&filters(20, 33, 3)[..], &affine].concat()), |t, ops| {
            let norm = GroupNorm::load(&build(t, ops).pp("norm"), 20, 5, 1e-6)?;
            conv(t, ops, (20, 33), (3, 1, 1))?.forward_normed(&t["x"], &norm)
        }),
    ]
}

/// Values and gradients of Σ y·c for fixed random c.
fn run(case: &Case, ops: Ops) -> (Tensor, Vec<(&'static str, Tensor)>) {
    let (name, inputs, run) = case;
    let vars: Vec<(&'static str, Var)> = (inputs.iter().enumerate())
        .map(|(i, (name, shape))| (*name, Var::from_tensor(&random(i as u64, shape.as_slice())).unwrap()))
        .collect();
    let tensors = vars.iter().map(|(name, var)| (name.to_string(), var.as_tensor().clone())).collect();
    let y = run(&tensors, ops).unwrap();
    let mut gradients = (&y * random(99, y.shape())).unwrap().sum_all().unwrap().backward().unwrap();
    let gradient = |(input, var): (&'static str, Var)| {
        (input, gradients.remove(&var).unwrap_or_else(|| panic!("{name}: no gradient for {input}")))
    };
    (y, vars.into_iter().map(gradient).collect())
}

#[test]
fn training_agrees_with_the_reference() {
    for case in cases() {
        let ((value, gradients), (expected, expected_gradients)) =
            (run(&case, Ops::Training), run(&case, Ops::Reference));
        println!("{}", case.0);
        assert_close(&value, &expected, 1e-5);
        for ((name, gradient), (_, expected)) in gradients.iter().zip(&expected_gradients) {
            println!("{} of {name}", case.0);
            assert_close(gradient, expected, 2e-5);
        }
    }
}

/// Activations choose by the tensor alone, so they are held against candle's own.
#[test]
fn activations_have_the_gradients_of_candle() {
    type Pair = (
        &'static str,
        fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
        fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
    );
    let cases: Vec<Pair> = vec![
        ("silu", |x, _, _| activation::silu(x), |x, _, _| x.silu()),
        ("gelu by tanh", |x, _, _| activation::gelu_tanh(x), |x, _, _| x.gelu()),
        ("gelu by erf", |x, _, _| activation::gelu_erf(x), |x, _, _| x.gelu_erf()),
        ("swiglu", |x, y, _| activation::swiglu(x, y), |x, y, _| x.silu()? * y),
        (
            "modulate",
            |x, _, m| activation::modulate(x, m),
            |x, _, m| (x * (m.narrow(1, 24, 24)? + 1.0)?)? + m.narrow(1, 0, 24)?,
        ),
        ("gate", |x, y, m| activation::gate(x, y, m), |x, y, m| x + (m.narrow(1, 48, 24)? * y)?),
    ];
    for (name, ours, composed) in cases {
        let shapes = [(133, 24), (133, 24), (133, 72)];
        let vars = [0, 1, 2].map(|i| Var::from_tensor(&(random(i, shapes[i as usize]) * 2.0).unwrap()).unwrap());
        let [x, y, m] = vars.each_ref().map(|v| v.as_tensor().clone());
        let weight = random(9, (133, 24));
        let run = |f: fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>| {
            let out = f(&x, &y, &m).unwrap();
            let gradients = (&out * &weight).unwrap().sum_all().unwrap().backward().unwrap();
            (out, gradients)
        };
        let ((value, gradients), (expected, expected_gradients)) = (run(ours), run(composed));
        println!("{name}");
        assert_close(&value, &expected, 1e-5);
        for var in &vars {
            match (gradients.get(var), expected_gradients.get(var)) {
                (Some(gradient), Some(expected)) => assert_close(gradient, expected, 2e-5),
                (ours, theirs) => assert_eq!(ours.is_some(), theirs.is_some(), "{name}"),
            }
        }
    }
}
