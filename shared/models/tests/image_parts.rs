//! The autoencoder and the vision tower against the published numbers, on either implementation of the operations.

// The lint spares test functions only; this whole file is one test.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use unipic_models::{projector::Projector, siglip2, vae};
use unipic_nn::{Build, Ops};
use unipic_test_support::{assert_close, case, same_bits, tiny_a};
use unipic_weights::config::ModelConfig;

/// Bound of a single part; see the README beside the fixtures' origin.
const PART: f64 = 1e-4;
/// Bound of pixels of a single part.
const PIXELS: f64 = 5e-4;

fn config() -> ModelConfig {
    serde_json::from_slice(&std::fs::read(tiny_a().join("config.json")).unwrap()).unwrap()
}

fn build(ops: Ops) -> Build<'static> {
    let tensors = candle_core::safetensors::load(tiny_a().join("model.safetensors"), &Device::Cpu).unwrap();
    Build::new(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), ops)
}

#[test]
fn the_vae_encodes_as_published() {
    for ops in [Ops::Reference, Ops::Inference] {
        let encoder = vae::Encoder::load(&build(ops), &config().vae).unwrap();
        for name in ["vae_encode_0", "vae_encode_1"] {
            let case = case(name).unwrap();
            assert_close(name, &encoder.encode(&case["pixels"]).unwrap(), &case["latents"], PART).unwrap();
        }
    }
}

#[test]
fn the_vae_decodes_as_published() {
    for ops in [Ops::Reference, Ops::Inference] {
        let decoder = vae::Decoder::load(&build(ops), &config().vae).unwrap();
        for name in ["vae_decode_0", "vae_decode_1"] {
            let case = case(name).unwrap();
            assert_close(name, &decoder.decode(&case["latents"]).unwrap(), &case["pixels"], PIXELS).unwrap();
        }
    }
}

#[test]
fn an_image_has_the_same_bits_alone_and_in_company() {
    let decoder = vae::Decoder::load(&build(Ops::Inference), &config().vae).unwrap();
    let case = case("vae_decode_0").unwrap();
    let together = decoder.decode(&case["latents"]).unwrap();
    let alone = decoder.decode(&case["latents"].narrow(0, 1, 1).unwrap()).unwrap();
    assert!(same_bits(&together.narrow(0, 1, 1).unwrap(), &alone).unwrap());

    let tower = siglip2::Encoder::load(&build(Ops::Inference), &config().siglip).unwrap();
    let images = case["pixels"].contiguous().unwrap();
    let together = tower.forward_packed(&images).unwrap();
    let alone = tower.forward(&images.get(1).unwrap()).unwrap();
    let n_tokens = config().siglip.n_tokens();
    assert!(same_bits(&together.narrow(0, n_tokens, n_tokens).unwrap(), &alone).unwrap());
}

#[test]
fn the_vision_tower_and_its_projector_are_as_published() {
    let case = case("understand_siglip2").unwrap();
    let first = |name: &str| -> Tensor { case[name].get(0).unwrap() };
    for ops in [Ops::Reference, Ops::Inference] {
        let tower = siglip2::Encoder::load(&build(ops), &config().siglip).unwrap();
        let hidden = tower.forward(&first("pixels_in")).unwrap();
        assert_close("siglip_hidden", &hidden, &first("siglip_hidden"), PART).unwrap();
        let projector = Projector::load_siglip(&build(ops), &config()).unwrap();
        assert_close("z", &projector.forward(&hidden).unwrap(), &first("z"), PART).unwrap();
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let encoder = vae::Encoder::load(&build(Ops::Inference), &config().vae).unwrap();
    let pixels = Tensor::zeros((1, 3, 64, 40), DType::F32, &Device::Cpu).unwrap();
    assert!(encoder.encode(&pixels).is_err());
    let tower = siglip2::Encoder::load(&build(Ops::Inference), &config().siglip).unwrap();
    assert!(tower.forward(&Tensor::zeros((3, 32, 32), DType::F32, &Device::Cpu).unwrap()).is_err());
}
