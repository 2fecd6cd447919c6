//! Linear layers: against candle's product, and what a row's bits may depend on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use proptest::prelude::*;
use support::{assert_close, bits, random};
use unipic_nn::activation::{Function, add, map};
use unipic_nn::linear::matmul_rows;
use unipic_nn::{Build, Linear, LinearFormat, Ops};

fn layer(ops: Ops, format: LinearFormat, n_in: usize, n_out: usize, with_bias: bool) -> Linear {
    let tensors =
        HashMap::from([("weight".to_string(), random(1, (n_out, n_in))), ("bias".to_string(), random(2, n_out))]);
    let build = Build::new(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), ops).with_linear_format(format);
    match with_bias {
        true => Linear::load(&build, n_in, n_out).unwrap(),
        false => Linear::load_without_bias(&build, n_in, n_out).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn panels_equal_the_whole(
        (rows, n_in, n_out) in (1_usize..330, 1_usize..700, 1_usize..200),
        with_bias in any::<bool>(),
    ) {
        let x = random(3, (rows, n_in));
        let forward = |ops| layer(ops, LinearFormat::Dense, n_in, n_out, with_bias).forward(&x).unwrap();
        assert_close(&forward(Ops::Inference), &forward(Ops::Reference), 1e-5);
        let w = random(1, (n_out, n_in));
        assert_close(&matmul_rows(&x, &w.t().unwrap()).unwrap(), &x.matmul(&w.t().unwrap()).unwrap(), 1e-5);
    }
}

/// Every row of every row count has the bits it has alone.
fn check_rows(layer: &Linear, n_in: usize, counts: impl Iterator<Item = usize>) {
    let x = random(3, (301, n_in));
    let alone: Vec<_> = (0..301).map(|row| bits(&layer.forward(&x.narrow(0, row, 1).unwrap()).unwrap())).collect();
    for n in counts {
        let first = n % 3 % (302 - n);
        let together = layer.forward(&x.narrow(0, first, n).unwrap()).unwrap();
        for row in 0..n {
            assert_eq!(
                bits(&together.narrow(0, row, 1).unwrap()),
                alone[first + row],
                "row {row} of {n}, width {n_in}"
            );
        }
    }
}

#[test]
fn rows_do_not_depend_on_their_number() {
    for (n_in, n_out) in [(64, 64), (64, 16), (16, 48), (33, 70)] {
        check_rows(&layer(Ops::Inference, LinearFormat::Dense, n_in, n_out, true), n_in, 1..=301);
    }
    for (n_in, n_out) in [(1280, 32), (1536, 96), (8960, 64)] {
        let counts = [1, 2, 3, 4, 5, 8, 16, 17, 63, 64, 65, 128, 255, 257, 300];
        check_rows(&layer(Ops::Inference, LinearFormat::Dense, n_in, n_out, false), n_in, counts.into_iter());
    }
}

#[test]
fn quantized_rows_do_not_depend_on_their_number() {
    for (n_in, n_out) in [(64, 64), (32, 17), (1152, 48), (1280, 40), (1536, 96), (1536, 33), (4304, 16), (8960, 16)] {
        let counts = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 128, 255, 257, 300];
        check_rows(&layer(Ops::Inference, LinearFormat::Q8_0, n_in, n_out, true), n_in, counts.into_iter());
    }
}

#[test]
fn threads_change_no_bit() {
    let layer = layer(Ops::Inference, LinearFormat::Dense, 640, 500, true);
    let x = random(3, (70, 640));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(7).build().unwrap();
    assert_eq!(bits(&layer.forward(&x).unwrap()), pool.install(|| bits(&layer.forward(&x).unwrap())));
}

/// Small layers, which are packed, and large ones, which are not: with a function or a residual behind them they give the bits
/// of one after the other.
#[test]
fn what_stands_behind_a_layer_changes_no_bit() {
    for (n_in, n_out) in [(192, 768), (192, 2112), (33, 48), (16, 32), (64, 70), (1536, 512)] {
        for (format, rows) in [(LinearFormat::Dense, 1), (LinearFormat::Dense, 130), (LinearFormat::Q8_0, 20)] {
            let layer = layer(Ops::Inference, format, n_in, n_out, rows != 1);
            let (x, onto) = (random(3, (rows, n_in)), random(4, (rows, n_out)));
            let y = layer.forward(&x).unwrap();
            for function in [Function::Silu, Function::GeluTanh, Function::GeluErf] {
                let then = layer.forward_then(&x, function).unwrap();
                assert_eq!(bits(&then), bits(&map(function, &y).unwrap()), "{n_in} to {n_out}, {function:?}");
            }
            let sum = (&onto + &y).unwrap();
            assert_eq!(bits(&layer.forward_onto(&x, &onto).unwrap()), bits(&sum), "{n_in} to {n_out}");
            assert_eq!(bits(&add(&onto, &y).unwrap()), bits(&sum));
        }
    }
}

/// Packed or not, a result is the same chain of multiply-adds: the product of a view of the same weights, which is never
/// packed, has its bits.
#[test]
fn packing_changes_no_bit() {
    for (n_in, n_out) in [(192, 768), (768, 192), (33, 48), (1, 16)] {
        let layer = layer(Ops::Inference, LinearFormat::Dense, n_in, n_out, false);
        for rows in [1, 2, 5, 12, 13, 24, 25, 97, 300] {
            let x = random(3, (rows, n_in));
            let unpacked = matmul_rows(&x, &random(1, (n_out, n_in)).t().unwrap()).unwrap();
            assert_eq!(bits(&layer.forward(&x).unwrap()), bits(&unpacked), "{rows} rows of {n_in} to {n_out}");
        }
    }
}

#[test]
fn quantization_stays_near() {
    let x = random(3, (40, 640));
    let forward = |format| layer(Ops::Inference, format, 640, 96, true).forward(&x).unwrap();
    assert_close(&forward(LinearFormat::Q8_0), &forward(LinearFormat::Dense), 2e-2);
}

#[test]
fn misfits_are_refused() {
    let layer = layer(Ops::Inference, LinearFormat::Dense, 32, 16, true);
    assert!(layer.forward(&random(1, (3, 31))).is_err());
    for wrong in [random(2, (2, 16)), random(2, (3, 17))] {
        assert!(layer.forward_onto(&random(1, (3, 32)), &wrong).is_err());
    }
    assert!(layer.forward(&Tensor::zeros((3, 32), DType::F16, &Device::Cpu).unwrap()).is_err());
}
