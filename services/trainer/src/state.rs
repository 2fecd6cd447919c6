//! A run's saved state: weights, the optimizer's memory, and how far it has come.
//!
//! One safetensors file, written beside the old one, flushed to the disk and renamed over it. So whatever happens, there
//! is one whole state, and a full disk costs the steps since the last one and no more.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde::{Deserialize, Serialize};
use unipic_weights::config::ModelConfig;

use crate::TrainError;
use crate::optimizer::{Optimizer, Slot, values};
use crate::parameters::Parameters;

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Hash of the recipe.
    pub(crate) recipe: String,
    /// The stage to go on with.
    pub(crate) stage: usize,
    /// Steps done in it.
    pub(crate) step: usize,
    /// Sizes, with the latents' scale as measured.
    pub(crate) config: ModelConfig,
    /// Seconds of training so far.
    pub(crate) seconds: f64,
}

/// The metadata key that holds the position.
const POSITION: &str = "position";

/// Writes a state to `path`.
///
/// # Errors
/// When the disk does not take it; then what stood there stands there still.
pub(crate) fn save(
    path: &Path,
    position: &Position,
    parameters: &Parameters,
    optimizer: &Optimizer,
) -> Result<(), TrainError> {
    let mut all: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    for (name, var) in parameters.vars() {
        all.insert(format!("weight/{name}"), (var.dims().to_vec(), bytes(&values(var)?)));
    }
    for (name, slot) in &optimizer.slots {
        for (kind, values) in [("moment", &slot.moment), ("second", &slot.second), ("average", &slot.average)] {
            all.insert(format!("{kind}/{name}"), (vec![values.len()], bytes(values)));
        }
    }
    let views = all.iter().map(|(name, (shape, bytes))| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view)).map_err(|e| e.to_string())
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(TrainError::Data)?;
    let position = serde_json::to_string(position).map_err(|e| TrainError::Data(e.to_string()))?;
    let partial = path.with_extension("partial");
    let written = serialize_to_file(views, Some(HashMap::from([(POSITION.into(), position)])), &partial)
        .map_err(|e| std::io::Error::other(e.to_string()))
        .and_then(|()| File::open(&partial)?.sync_all())
        .and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&partial);
        TrainError::io(path)(e)
    })
}

/// Reads a state; none when there is no file.
///
/// # Errors
/// When the file is not a state.
pub(crate) fn load(path: &Path, device: &Device) -> Result<Option<(Position, Parameters, Optimizer)>, TrainError> {
    if !path.exists() {
        return Ok(None);
    }
    let bad = |why: String| TrainError::Resume { path: path.to_owned(), why };
    let bytes = std::fs::read(path).map_err(TrainError::io(path))?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| bad(e.to_string()))?;
    let position = header.metadata().as_ref().and_then(|m| m.get(POSITION)).ok_or_else(|| bad("no position".into()))?;
    let position: Position = serde_json::from_str(position).map_err(|e| bad(e.to_string()))?;
    let mut weights = Vec::new();
    let mut slots: BTreeMap<String, Slot> = BTreeMap::new();
    for (name, tensor) in candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)? {
        let Some((kind, name)) = name.split_once('/') else { return Err(bad(format!("a tensor `{name}`"))) };
        if kind == "weight" {
            weights.push((name.to_owned(), tensor));
            continue;
        }
        let empty = || Slot { moment: Vec::new(), second: Vec::new(), average: Vec::new() };
        let slot = slots.entry(name.to_owned()).or_insert_with(empty);
        let place = match kind {
            "moment" => &mut slot.moment,
            "second" => &mut slot.second,
            _ => &mut slot.average,
        };
        *place = flat(&tensor)?;
    }
    let optimizer = Optimizer { slots, step: position.step };
    Ok(Some((position, Parameters::of_tensors(weights, device)?, optimizer)))
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>, TrainError> {
    if tensor.elem_count() == 0 { Ok(Vec::new()) } else { values(tensor) }
}
