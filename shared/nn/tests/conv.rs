//! Convolution: the tiled form against candle's, with what is folded into it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use proptest::prelude::*;
use support::{assert_close, bits, random};
use unipic_nn::{Build, Conv2d, GroupNorm, Ops};

fn tensors(n_in: usize, n_out: usize, kernel: usize) -> HashMap<String, Tensor> {
    [
        ("conv.weight", random(1, (n_out, n_in, kernel, kernel))),
        ("conv.bias", random(2, n_out)),
        ("norm.weight", random(3, n_in)),
        ("norm.bias", random(4, n_in)),
    ]
    .into_iter()
    .map(|(name, tensor)| (name.to_string(), tensor))
    .collect()
}

fn build(ops: Ops, tensors: &HashMap<String, Tensor>) -> Build<'static> {
    Build::new(VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu), ops)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn tiles_equal_the_whole(
        (n_images, n_in, n_out) in (1_usize..3, 1_usize..70, 1_usize..60),
        (height, width) in (3_usize..40, 3_usize..40),
        (kernel, stride, padding) in prop::sample::select(vec![(1, 1, 0), (3, 1, 1), (3, 2, 0), (3, 2, 1), (3, 1, 0), (1, 2, 0), (2, 1, 1)]),
    ) {
        let tensors = tensors(n_in, n_out, kernel);
        let conv = |ops| Conv2d::load(&build(ops, &tensors).pp("conv"), n_in, n_out, kernel, stride, padding).unwrap();
        let x = random(5, (n_images, n_in, height, width));
        assert_close(&conv(Ops::Inference).forward(&x).unwrap(), &conv(Ops::Reference).forward(&x).unwrap(), 1e-5);
        let upsampled = |ops| conv(ops).forward_upsampled(&x).unwrap();
        assert_close(&upsampled(Ops::Inference), &upsampled(Ops::Reference), 1e-5);
        // A view: channels last in memory.
        let view = random(6, (n_images, height, width, n_in)).permute((0, 3, 1, 2)).unwrap();
        assert_close(&conv(Ops::Inference).forward(&view).unwrap(), &conv(Ops::Reference).forward(&view).unwrap(), 1e-5);
    }

    #[test]
    fn norm_swish_and_residual_fold_in(
        (n_images, n_groups, per_group, n_out) in (1_usize..3, 1_usize..5, 1_usize..9, 1_usize..40),
        (height, width) in (1_usize..40, 1_usize..40),
    ) {
        let n_in = n_groups * per_group;
        let tensors = tensors(n_in, n_out, 3);
        let parts = |ops| {
            let build = build(ops, &tensors);
            let norm = GroupNorm::load(&build.pp("norm"), n_in, n_groups, 1e-6).unwrap();
            (Conv2d::load(&build.pp("conv"), n_in, n_out, 3, 1, 1).unwrap(), norm)
        };
        let ((fused, fused_norm), (composed, norm)) = (parts(Ops::Inference), parts(Ops::Reference));
        let x = (random(5, (n_images, n_in, height, width)) + 0.5).unwrap();
        // A group of one value has no spread: its normed value is rounding divided by √ε.
        if per_group * height * width > 1 {
            let y = composed.forward_normed(&x, &norm).unwrap();
            assert_close(&fused_norm.forward(&x).unwrap(), &norm.forward(&x).unwrap(), 1e-5);
            assert_close(&fused.forward_normed(&x, &fused_norm).unwrap(), &y, 1e-5);
            let residual = || random(7, (n_images, n_out, height, width));
            let onto = fused.forward_normed_onto(&x, &fused_norm, residual()).unwrap();
            assert_close(&onto, &composed.forward_normed_onto(&x, &norm, residual()).unwrap(), 1e-5);
            assert_close(&onto, &(y + residual()).unwrap(), 1e-5);
        }
    }
}

#[test]
fn neither_the_batch_nor_threads_change_a_bit() {
    let tensors = tensors(40, 100, 3);
    let conv = Conv2d::load(&build(Ops::Inference, &tensors).pp("conv"), 40, 100, 3, 1, 1).unwrap();
    let x = random(5, (3, 40, 33, 21));
    let all = conv.forward(&x).unwrap();
    for image in 0..3 {
        let alone = conv.forward(&x.narrow(0, image, 1).unwrap()).unwrap();
        assert_eq!(bits(&alone), bits(&all.narrow(0, image, 1).unwrap()));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(9).build().unwrap();
    assert_eq!(bits(&all), pool.install(|| bits(&conv.forward(&x).unwrap())));
}

#[test]
fn a_tensor_is_not_added_onto_itself_or_misfitted() {
    let tensors = tensors(8, 8, 3);
    let build = build(Ops::Inference, &tensors);
    let conv = Conv2d::load(&build.pp("conv"), 8, 8, 3, 1, 1).unwrap();
    let norm = GroupNorm::load(&build.pp("norm"), 8, 4, 1e-6).unwrap();
    let x = random(5, (1, 8, 5, 5));
    assert!(conv.forward_normed_onto(&x, &norm, x.clone()).is_err());
    assert!(conv.forward_normed_onto(&x, &norm, random(1, (1, 8, 5, 6))).is_err());
    assert!(conv.forward(&random(1, (1, 7, 5, 5))).is_err());
    let strict = Conv2d::load(&build.pp("conv"), 8, 8, 3, 1, 0).unwrap();
    assert!(strict.forward(&random(1, (1, 8, 2, 9))).is_err());
}
