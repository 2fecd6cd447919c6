//! Random checkpoints load, are the same for the same seed, and have the model's sizes.

use candle_core::{DType, Device};
use unipic_weights::config::ModelConfig;
use unipic_weights::plan::{LinearStorage, PlanFor, Precision, Target, plan};
use unipic_weights::{Checkpoint, Part, StoredDtype, random};

#[test]
fn a_random_checkpoint_loads_and_depends_on_its_seed_alone() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, seed| {
        random(&ModelConfig::tiny(), &folder.path().join(name), StoredDtype::Bf16, seed, &mut |_| {}).unwrap()
    };
    let (first, again, other) = (write("a", 7), write("b", 7), write("c", 8));
    assert_eq!(first.sha256, again.sha256);
    assert_ne!(first.sha256, other.sha256);
    let checkpoint = Checkpoint::open(&folder.path().join("a")).unwrap();
    assert_eq!(checkpoint.config(), &ModelConfig::tiny());
    let loaded = checkpoint.load(&Part::ALL, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(loaded.sha256(), first.sha256);
    let table = loaded.var_builder().get((512, 64), "llm.model.embed_tokens.weight").unwrap();
    let std = table.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    assert!((std - 0.02).abs() < 0.001, "{std}");
}

/// `ε = x` through the input layer, LayerNorm and output layer of the head, for inputs of unit size.
#[test]
fn the_random_diffusion_head_predicts_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    random(&ModelConfig::tiny(), &path, StoredDtype::F32, 1, &mut |_| {}).unwrap();
    let loaded = Checkpoint::open(&path).unwrap().load(&[Part::Mar], DType::F32, &Device::Cpu).unwrap();
    let net = loaded.var_builder().pp("mar.diffloss.net");
    let get = |shape: &[usize], name: &str| net.get(shape, name).unwrap();
    let x = candle_core::Tensor::randn(0f32, 1f32, (64, 16), &Device::Cpu).unwrap();
    let hidden = x.matmul(&get(&[64, 16], "input_proj.weight").t().unwrap()).unwrap();
    let hidden = hidden.broadcast_add(&get(&[64], "input_proj.bias")).unwrap();
    let centred = hidden.broadcast_sub(&hidden.mean_keepdim(1).unwrap()).unwrap();
    let std = centred.sqr().unwrap().mean_keepdim(1).unwrap().sqrt().unwrap();
    let normed = centred.broadcast_div(&std).unwrap();
    let out = normed.matmul(&get(&[32, 64], "final_layer.linear.weight").t().unwrap()).unwrap();
    let error = (out.narrow(1, 0, 16).unwrap() - &x).unwrap().abs().unwrap().max_all().unwrap();
    let error = error.to_scalar::<f32>().unwrap();
    assert!(error < 0.1, "{error}");
}

#[test]
fn the_plan_has_exact_weights() {
    let request = PlanFor {
        width: 1024,
        height: 1024,
        precision: Precision::Bf16,
        linear: LinearStorage::Dense,
        target: Target::Cuda,
    };
    let config = ModelConfig::unipic_1_5b();
    let dense = plan(&config, &Part::ALL, &request);
    let parameters: u64 = dense.parts.iter().map(|part| part.n_parameters).sum();
    assert_eq!(dense.weight_bytes(), 2 * parameters);
    // The paper's claim for 1024 x 1024 pixels.
    assert!(dense.peak_bytes() < 15_000_000_000, "{}", dense.peak_bytes());
    let f32 = plan(&config, &Part::ALL, &PlanFor { precision: Precision::F32, target: Target::Cpu, ..request });
    assert_eq!(f32.weight_bytes(), 4 * parameters);
    let q8 = PlanFor { precision: Precision::F32, linear: LinearStorage::Q8_0, target: Target::Cpu, ..request };
    let q8 = plan(&config, &Part::ALL, &q8);
    // 8.5 bits a value, kept in two orders.
    assert!(q8.weight_bytes() < f32.weight_bytes() * 6 / 10, "{}", q8.weight_bytes());
    assert!(q8.to_string().contains("siglip2-proj"));
}
