//! Loading of sound safetensors checkpoints.

use std::path::Path;

use candle_core::{DType, Device};
use unipic_weights::{Checkpoint, Part};

fn fixture() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/fixtures/tiny-a"))
}

#[test]
fn serves_every_tensor_of_the_parts_asked_for_and_no_other() {
    let checkpoint = Checkpoint::open(fixture()).unwrap();
    let loaded = checkpoint.load(&[Part::Llm], DType::F32, &Device::Cpu).unwrap();
    let tensors = loaded.var_builder();
    let reference = candle_core::safetensors::load(fixture().join("model.safetensors"), &Device::Cpu).unwrap();
    let name = "llm.model.embed_tokens.weight";
    let ours = tensors.pp("llm.model").get((512, 64), "embed_tokens.weight").unwrap();
    assert_eq!(ours.to_vec2::<f32>().unwrap(), reference[name].to_vec2::<f32>().unwrap());
    assert!(!tensors.contains_tensor("proj_in.0.weight"));
    assert!(tensors.get((64, 48), "proj_in.0.weight").is_err());
    assert!(tensors.get((64, 512), name).is_err());
}

#[test]
fn converts_to_the_dtype_asked_for() {
    let checkpoint = Checkpoint::open(fixture()).unwrap();
    let reference = candle_core::safetensors::load(fixture().join("model.safetensors"), &Device::Cpu).unwrap();
    for dtype in [DType::BF16, DType::F16] {
        let loaded = checkpoint.load(&[Part::Projectors], dtype, &Device::Cpu).unwrap();
        let ours = loaded.var_builder().get((64, 48), "proj_in.0.weight").unwrap();
        assert_eq!(ours.dtype(), dtype);
        let expected = reference["proj_in.0.weight"].to_dtype(dtype).unwrap();
        let vec = |t: &candle_core::Tensor| t.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(vec(&ours), vec(&expected));
    }
    assert!(checkpoint.load(&[Part::Projectors], DType::U8, &Device::Cpu).is_err());
}

#[test]
fn hashes_what_was_loaded() {
    let checkpoint = Checkpoint::open(fixture()).unwrap();
    let hash = |parts: &[Part]| checkpoint.load(parts, DType::F32, &Device::Cpu).unwrap().sha256().to_owned();
    assert_eq!(hash(&[Part::Vae]), hash(&[Part::Vae]));
    assert_ne!(hash(&[Part::Vae]), hash(&[Part::Mar]));
    assert_eq!(hash(&Part::ALL).len(), 64);
}
