//! Norms, activations and rotary positions: fused against composed, and bits that depend on nothing but the row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use proptest::prelude::*;
use support::{assert_close, bits, random, values};
use unipic_nn::activation::{gelu_erf, gelu_tanh, silu, swiglu};
use unipic_nn::{Build, LayerNorm, Ops, RmsNorm, Rotary};

fn build(ops: Ops, width: usize) -> Build<'static> {
    let tensors = HashMap::from([("weight".to_string(), random(1, width)), ("bias".to_string(), random(2, width))]);
    Build::new(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), ops)
}

/// A function of packed rows.
type Function = Box<dyn Fn(&Tensor) -> Tensor>;

/// Every function of rows that the inference form fuses, by name.
fn functions(ops: Ops, width: usize, head_dim: usize) -> Vec<(&'static str, Function)> {
    let (layer, rms) =
        (LayerNorm::load(&build(ops, width), width, 1e-6), RmsNorm::load(&build(ops, width), width, 1e-6));
    let (layer, rms, bare) = (layer.unwrap(), rms.unwrap(), LayerNorm::without_affine(ops, 1e-6));
    let rotary = Rotary::new(head_dim, 1e6);
    vec![
        ("layer norm", Box::new(move |x| layer.forward(x).unwrap())),
        ("layer norm without affine", Box::new(move |x| bare.forward(x).unwrap())),
        ("rms norm", Box::new(move |x| rms.forward(x).unwrap())),
        (
            "rotary",
            Box::new(move |x| {
                // Positions by content, so that a row alone stands where it stood among others.
                let positions: Vec<usize> =
                    values(x).chunks(width).map(|row| (row[0].abs() * 1000.0) as usize).collect();
                rotary.angles(&positions, &Device::Cpu).unwrap().rotate(ops, x).unwrap()
            }),
        ),
        ("silu", Box::new(|x| silu(x).unwrap())),
        ("gelu by erf", Box::new(|x| gelu_erf(x).unwrap())),
        ("gelu by tanh", Box::new(|x| gelu_tanh(x).unwrap())),
        ("swiglu", Box::new(|x| swiglu(x, &(x * 0.5).unwrap()).unwrap())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn fused_equals_composed(rows in 1_usize..200, heads in 1_usize..6, head_dim in prop::sample::select(vec![2, 6, 16, 32, 128])) {
        let width = heads * head_dim;
        let x = (random(3, (rows, width)) * 2.0).unwrap();
        let pairs = functions(Ops::Inference, width, head_dim).into_iter().zip(functions(Ops::Reference, width, head_dim));
        for ((_, fused), (_, composed)) in pairs {
            assert_close(&fused(&x), &composed(&x), 1e-5);
        }
    }

    #[test]
    fn rows_do_not_depend_on_their_number(rows in 1_usize..300, heads in 1_usize..6) {
        let width = heads * 32;
        let x = random(3, (rows, width));
        for (name, function) in functions(Ops::Inference, width, 32) {
            let together = function(&x);
            for row in [0, rows / 2, rows - 1] {
                let alone = function(&x.narrow(0, row, 1).unwrap());
                prop_assert_eq!(bits(&alone), bits(&together.narrow(0, row, 1).unwrap()), "{}", name);
            }
        }
    }
}

/// The kernels against candle's own functions in f64 over the whole range, ends included.
#[test]
fn activations_are_exact_enough() {
    let points: Vec<f32> = (-4000..=4000).map(|i| i as f32 * 0.025).chain([-3e38, 3e38, -0.0, 1e-30, -1e-30]).collect();
    let x = Tensor::new(points.as_slice(), &Device::Cpu).unwrap();
    let wide = x.to_dtype(DType::F64).unwrap();
    let pairs = [
        (silu(&x), wide.silu()),
        (gelu_erf(&x), wide.gelu_erf()),
        // In f64 the cube of 3e38 is still finite.
        (gelu_tanh(&x), wide.gelu()),
    ];
    for (i, (ours, exact)) in pairs.into_iter().enumerate() {
        let (ours, exact) = (values(&ours.unwrap()), exact.unwrap().to_vec1::<f64>().unwrap());
        for ((ours, exact), x) in ours.into_iter().zip(exact).zip(&points) {
            let error = (f64::from(ours) - exact).abs();
            assert!(error <= 1e-6 * exact.abs().max(1.0), "{i} at {x}: {ours} is not {exact}");
        }
    }
    let broken = Tensor::new(&[f32::NAN], &Device::Cpu).unwrap();
    for y in [silu(&broken), gelu_erf(&broken), gelu_tanh(&broken), swiglu(&broken, &broken)] {
        assert!(values(&y.unwrap())[0].is_nan());
    }
}

#[test]
fn misfits_are_refused() {
    let x = random(1, (4, 24));
    for ops in [Ops::Reference, Ops::Inference] {
        let angles = Rotary::new(8, 1e4).angles(&[0, 1, 2], &Device::Cpu).unwrap();
        assert!(angles.rotate(ops, &x).is_err());
        assert!(angles.rotate(ops, &random(1, (3, 20))).is_err());
        assert!(LayerNorm::load(&build(ops, 16), 16, 1e-6).unwrap().forward(&x).is_err());
        assert!(RmsNorm::load(&build(ops, 16), 16, 1e-6).unwrap().forward(&x).is_err());
    }
    assert!(swiglu(&x, &random(1, (4, 12))).is_err());
}
