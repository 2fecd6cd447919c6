//! Losses on the small parity model; that they are the published ones is held by the parity harness.
#![allow(clippy::unwrap_used)]

mod composition;
mod gradients;
mod readout;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor};
use unipic_models::diffusion::{CounterDraws, Draws as _};
use unipic_models::mar::ImageGrid;
use unipic_nn::Ops;
use unipic_test_support::tiny_a;
use unipic_weights::config::ModelConfig;
use unipic_weights::{Part, manifest};

use super::*;
use crate::model::TrainModel;
use crate::parameters::Parameters;

/// Not the base grid, so that positions are resized.
const GRID: ImageGrid = ImageGrid { rows: 3, cols: 5 };
const N_REPEATS: usize = 2;

fn config() -> ModelConfig {
    serde_json::from_slice(&std::fs::read(tiny_a().join("config.json")).unwrap()).unwrap()
}

/// The fixture's weights, but for the vision tower's pooling head, which no part has.
fn parameters() -> Parameters {
    let mut tensors = candle_core::safetensors::load(tiny_a().join("model.safetensors"), &Device::Cpu).unwrap();
    let names: BTreeSet<String> = manifest::tensors(&config(), &Part::ALL).into_iter().map(|spec| spec.name).collect();
    tensors.retain(|name, _| names.contains(name));
    Parameters::of_tensors(tensors, &Device::Cpu).unwrap()
}

fn model(parameters: &Parameters, trained: &[Part]) -> TrainModel {
    TrainModel::load(&parameters.build(Ops::Reference, trained), &config()).unwrap()
}

fn normals(n: usize, seed: u64) -> Vec<f32> {
    let draws = CounterDraws::new(seed);
    (0..n.div_ceil(16) as u32).flat_map(|place| draws.init(0, 0, place).unwrap()).take(n).collect()
}

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::from_vec(normals(shape.iter().product(), seed), shape, &Device::Cpu).unwrap()
}

/// Draws for images of which different numbers of places are masked, the last step of the schedule included.
fn draws(n_images: usize) -> Draws {
    let n = n_images * GRID.n_places();
    let image = |i: usize| i / GRID.n_places();
    let masked = (0..n).map(|i| !(i * 7 + image(i)).is_multiple_of(3 + image(i))).collect();
    let timesteps = (0..N_REPEATS * n).map(|i| if i % 11 == 3 { 0 } else { (i * 331) % 1000 }).collect();
    Draws { masked, timesteps, noise: normals(N_REPEATS * n * 16, 5) }
}

/// The draws that one image of several has.
fn draws_of(draws: &Draws, image: usize) -> Draws {
    let n = GRID.n_places();
    let rows = |width: usize| image * n * width..(image + 1) * n * width;
    let n_all = draws.masked.len();
    Draws {
        masked: draws.masked[rows(1)].to_vec(),
        timesteps: draws.timesteps.chunks(n_all).flat_map(|all| &all[rows(1)]).copied().collect(),
        noise: draws.noise.chunks(n_all * 16).flat_map(|all| &all[rows(16)]).copied().collect(),
    }
}

/// Two images with all that the losses ask for.
struct Batch {
    latents: Tensor,
    sources: Tensor,
    pixels: Tensor,
    prompts: Vec<Vec<u32>>,
    around: Vec<AroundImage>,
    answers: Vec<Vec<u32>>,
}

impl Batch {
    fn new() -> Self {
        let around = |before: &[u32], after: &[u32]| AroundImage {
            before: before.into(),
            after: after.into(),
            named: Vec::new(),
        };
        Self {
            latents: tensor(&[2, GRID.n_places(), 16], 1),
            sources: tensor(&[2, GRID.n_places(), 16], 2),
            pixels: (tensor(&[2, 3, 64, 64], 3) * 0.3).unwrap(),
            prompts: vec![vec![1, 2, 3], vec![9, 8, 7, 6, 5, 4]],
            around: vec![around(&[1, 2], &[3, 4, 5, 6]), around(&[], &[7])],
            answers: vec![vec![11], vec![12, 13, 14]],
        }
    }

    /// One of the images.
    fn only(&self, image: usize) -> Self {
        Self {
            latents: self.latents.narrow(0, image, 1).unwrap(),
            sources: self.sources.narrow(0, image, 1).unwrap(),
            pixels: self.pixels.narrow(0, image, 1).unwrap(),
            prompts: vec![self.prompts[image].clone()],
            around: vec![self.around[image].clone()],
            answers: vec![self.answers[image].clone()],
        }
    }

    fn generation(&self) -> Generation<'_> {
        Generation { grid: GRID, latents: &self.latents, prompts: &self.prompts }
    }

    fn edit(&self) -> Edit<'_> {
        Edit {
            grid: GRID,
            latents: &self.latents,
            sources: &self.sources,
            prompts: &self.around,
            input_gradient: INPUT_GRADIENT,
        }
    }

    fn understanding(&self, by_mar: bool) -> Understanding<'_> {
        let images = match by_mar {
            true => Images::Mar { grid: GRID, latents: &self.latents },
            false => Images::Siglip(&self.pixels),
        };
        Understanding { images, prompts: &self.around, answers: &self.answers, earlier: &[] }
    }
}

/// A loss and what it gives each variable.
fn descend(parameters: &Parameters, loss: &Tensor) -> (f32, BTreeMap<String, Tensor>) {
    let gradients = loss.backward().unwrap();
    let of = |(name, var): (&String, &candle_core::Var)| Some((name.clone(), gradients.get(var.as_tensor())?.clone()));
    (loss.to_scalar().unwrap(), parameters.vars().iter().filter_map(of).collect())
}

fn largest(tensor: &Tensor) -> f64 {
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max)
}

/// Both losses, and the gradients of the same variables, within f32's rounding.
fn assert_same(ours: &(f32, BTreeMap<String, Tensor>), expected: &(f32, BTreeMap<String, Tensor>)) {
    assert!((ours.0 - expected.0).abs() <= 1e-5 * expected.0.abs(), "loss {} for {}", ours.0, expected.0);
    let names = |of: &BTreeMap<String, Tensor>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours.1), names(&expected.1));
    for (name, gradient) in &ours.1 {
        let off = largest(&(gradient - &expected.1[name]).unwrap());
        assert!(off <= 1e-6 + 1e-4 * largest(&expected.1[name]), "{name} is off by {off:e}");
    }
}
