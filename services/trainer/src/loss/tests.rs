//! Losses on the small parity model.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use unipic_models::mar::ImageGrid;
use unipic_nn::Ops;
use unipic_test_support::{case, tiny_a};
use unipic_weights::Part;

use super::*;
use crate::model::TrainModel;
use crate::parameters::Parameters;

fn parameters() -> Parameters {
    let tensors = candle_core::safetensors::load(tiny_a().join("model.safetensors"), &Device::Cpu).unwrap();
    Parameters::of_tensors(tensors, &Device::Cpu).unwrap()
}

fn model(parameters: &Parameters, trained: &[Part]) -> TrainModel {
    let config = serde_json::from_slice(&std::fs::read(tiny_a().join("config.json")).unwrap()).unwrap();
    TrainModel::load(&parameters.build(Ops::Reference, trained), &config).unwrap()
}

#[test]
fn replay_generate() {
    let p = parameters();
    let model = model(&p, &Part::ALL);
    let case = case("train_generate").unwrap();
    let ids = case["input_ids"].to_vec2::<i64>().unwrap();
    let am = case["attention_mask"].to_vec2::<u8>().unwrap();
    let prompts: Vec<Vec<u32>> = ids
        .iter()
        .zip(&am)
        .map(|(i, a)| i.iter().zip(a).filter(|(_, a)| **a == 1).map(|(i, _)| *i as u32).collect())
        .collect();
    let latents = case["latents"].reshape((3, 16, 16)).unwrap();
    let draws = Draws {
        masked: case["mask"].flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|m| *m > 0.5).collect(),
        timesteps: case["t"].to_vec1::<i64>().unwrap().iter().map(|t| *t as usize).collect(),
        noise: case["noise"].flatten_all().unwrap().to_vec1().unwrap(),
    };
    let batch = Generation { grid: ImageGrid { rows: 4, cols: 4 }, latents: &latents, prompts: &prompts };
    let loss = generate(&model, &batch, &draws).unwrap();
    println!("{loss} {}", case["loss"]);
    let grads = loss.backward().unwrap();
    for (name, var) in p.vars() {
        let norm =
            grads.get(var.as_tensor()).map(|g| g.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt());
        let want =
            case.get(&format!("grad_norm.{name}")).map(|w| w.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]);
        match (norm, want) {
            (Some(n), Some(w)) => {
                if (n - w).abs() > (1e-3 * w).max(1e-5) {
                    println!("OFF {name} {n} {w}")
                }
            }
            (None, None) => {}
            (Some(n), None) if n == 0.0 => println!("zero {name}"),
            other => println!("BAD {name} {other:?}"),
        }
    }
}
