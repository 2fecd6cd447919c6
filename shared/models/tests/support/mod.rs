//! The small parity model, and inputs made of counters.
#![allow(dead_code, reason = "each test file uses its own part")]

use anyhow::Result;
use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use unipic_models::diffusion::{CounterDraws, Draws};
use unipic_models::generation::{EncodeInput, ImageGrid, SynthesisModel};
use unipic_nn::{Build, Ops};
use unipic_test_support::tiny_a;
use unipic_weights::config::ModelConfig;

/// Both implementations of the operations.
pub(crate) const OPS: [Ops; 2] = [Ops::Reference, Ops::Inference];

/// The fixture's sizes.
pub(crate) fn config() -> Result<ModelConfig> {
    Ok(serde_json::from_slice(&std::fs::read(tiny_a().join("config.json"))?)?)
}

/// The fixture's networks for synthesis.
pub(crate) fn model(ops: Ops) -> Result<SynthesisModel> {
    let weights = candle_core::safetensors::load(tiny_a().join("model.safetensors"), &Device::Cpu)?;
    let build = Build::new(VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu), ops);
    Ok(SynthesisModel::load(&build, &config()?)?)
}

/// Standard normal values.
pub(crate) fn normals(n: usize, seed: u64) -> Vec<f32> {
    let draws = CounterDraws::new(seed);
    (0..n.div_ceil(16) as u32).filter_map(|place| draws.init(0, 0, place).ok()).flatten().take(n).collect()
}

/// More grids than are cached, square and not, smaller and larger than the base grid.
pub(crate) fn grids() -> Vec<ImageGrid> {
    let side = |rows, cols| ImageGrid { rows, cols };
    (1..7).map(|i| side(i, i)).chain((1..7).map(|i| side(i, 7 - i))).collect()
}

/// Images of different grids, from nothing known to all but one place.
pub(crate) fn images() -> Vec<EncodeInput> {
    let image = |(i, grid): (usize, ImageGrid)| {
        let n_known = i * (grid.n_places() - 1) / 4;
        let places: Vec<u32> = grid.places().into_iter().take(n_known).collect();
        EncodeInput { grid, latents: normals(places.len() * 16, i as u64), places }
    };
    let sides = [(4, 4), (6, 5), (2, 9), (4, 4), (1, 3)];
    sides.into_iter().map(|(rows, cols)| ImageGrid { rows, cols }).enumerate().map(image).collect()
}
