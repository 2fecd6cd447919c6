//! Released folders: no configuration of their own, and parts that have to come from elsewhere.

use std::path::Path;

use candle_core::{DType, Device};
use serde_json::json;
use unipic_weights::config::ModelConfig;
use unipic_weights::{Part, StoredDtype, random};

use crate::forge::{self, Raw, Tensors};
use crate::open;

/// A small model whose MAR has a published width, so that its head count is known.
fn config() -> ModelConfig {
    let mut config = ModelConfig::tiny();
    config.mar.embed_dim = 768;
    config.mar.num_heads = 12;
    config.mar.depth = 1;
    config.mar.num_sampling_steps = 100;
    config
}

/// Writes a released folder of `tensors`; those of `borrowed` parts go to the folders of the foreign models.
fn write(path: &Path, tensors: &Tensors, borrowed: &[Part], nested: bool) {
    let config = config();
    let llm = path.join("Qwen2.5-1.5B-Instruct");
    let siglip = path.join("siglip2-so400m-patch16-512");
    for folder in [&llm, &siglip] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(llm.join("config.json"), json!(config.llm).to_string()).unwrap();
    std::fs::write(llm.join("tokenizer.json"), "{}").unwrap();
    let vision =
        if nested { json!({ "vision_config": config.siglip, "text_config": {} }) } else { json!(config.siglip) };
    std::fs::write(siglip.join("config.json"), vision.to_string()).unwrap();
    let (vae, main): (Tensors, Tensors) = tensors.clone().into_iter().partition(|(name, _)| name.starts_with("vae."));
    let (foreign, main): (Tensors, Tensors) =
        main.into_iter().partition(|(name, _)| Part::of(name).is_some_and(|part| borrowed.contains(&part)));
    for (part, folder, start) in [(Part::Llm, llm, "llm."), (Part::Siglip, siglip, "siglip2.")] {
        let mine = foreign.iter().filter(|(name, _)| Part::of(name) == Some(part));
        let mut mine: Tensors = mine.map(|(name, raw)| (name[start.len()..].to_owned(), raw.clone())).collect();
        mine.insert("text_model.head.bias".into(), Raw { shape: vec![1], bytes: vec![0; 4], transposed: false });
        std::fs::write(folder.join("model.safetensors"), forge::safetensors(&mine)).unwrap();
    }
    let vae: Tensors = vae.into_iter().map(|(name, raw)| (name["vae.".len()..].to_owned(), raw)).collect();
    std::fs::write(path.join("pytorch_model.bin"), forge::zip(&forge::pickle(&main, None), &main)).unwrap();
    std::fs::write(path.join("kl16.ckpt"), forge::zip(&forge::pickle(&vae, Some("model")), &vae)).unwrap();
}

fn tensors(folder: &Path) -> Tensors {
    let made = folder.join("made");
    random(&config(), &made, StoredDtype::F32, 3, &mut |_| {}).unwrap();
    forge::read(&made)
}

#[test]
fn sizes_come_from_the_folders_and_from_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("released");
    let tensors = tensors(folder.path());
    for nested in [false, true] {
        write(&path, &tensors, &[], nested);
        let checkpoint = open(&path).unwrap();
        assert_eq!(checkpoint.config(), &ModelConfig { name: "unipic".into(), ..config() });
        assert_eq!(checkpoint.tokenizer().unwrap(), b"{}", "the tokenizer is the language model's");
        assert!(checkpoint.notices().is_empty(), "{:?}", checkpoint.notices());
        let loaded = checkpoint.load(&Part::ALL, DType::F32, &Device::Cpu).unwrap();
        let made = open(&folder.path().join("made")).unwrap().load(&Part::ALL, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(loaded.sha256(), made.sha256());
    }
}

#[test]
fn missing_parts_come_from_the_foreign_models_and_are_announced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("released");
    write(&path, &tensors(folder.path()), &[Part::Llm, Part::Siglip], true);
    let checkpoint = open(&path).unwrap();
    checkpoint.load(&Part::ALL, DType::F32, &Device::Cpu).unwrap();
    for part in ["llm", "siglip2"] {
        let notice = format!("no {part} tensors: they come from");
        assert!(checkpoint.notices().iter().any(|n| n.contains(&notice)), "{:?}", checkpoint.notices());
    }
    assert!(checkpoint.surplus().is_empty(), "{:?}", checkpoint.surplus());
}

#[test]
fn without_its_projector_the_understanding_encoder_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("released");
    let mut tensors = tensors(folder.path());
    tensors.retain(|name, _| Part::of(name) != Some(Part::SiglipProjector));
    write(&path, &tensors, &[], true);
    let checkpoint = open(&path).unwrap();
    assert!(checkpoint.notices()[0].contains("the SigLIP2 path is unavailable"), "{:?}", checkpoint.notices());
    assert_eq!(checkpoint.parts(), [Part::Vae, Part::Mar, Part::Projectors, Part::Llm]);
    checkpoint.load(&checkpoint.parts(), DType::F32, &Device::Cpu).unwrap();
    let error = checkpoint.load(&Part::ALL, DType::F32, &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("siglip2_proj.0.weight"), "{error}");
}

#[test]
fn tensors_saved_as_transposed_views_are_read_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("released");
    let mut tensors = tensors(folder.path());
    let name = "llm.model.layers.0.self_attn.o_proj.weight";
    tensors.get_mut(name).unwrap().transposed = true;
    write(&path, &tensors, &[], true);
    let get = |path: &Path| {
        let loaded = open(path).unwrap().load(&[Part::Llm], DType::F32, &Device::Cpu).unwrap();
        loaded.var_builder().get((64, 64), name).unwrap()
    };
    let (viewed, made) = (get(&path), get(&folder.path().join("made")).t().unwrap());
    assert_eq!(viewed.to_vec2::<f32>().unwrap(), made.to_vec2::<f32>().unwrap());
}
