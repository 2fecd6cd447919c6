//! From names in a configuration to a device, a checkpoint and something parts can be built from.
//!
//! Every process that holds weights (understanding, synthesis, decoder, node, the harnesses of tests) needs the same few
//! steps, so they stand here once:
//!
//! ```no_run
//! use unipic_models::load::LoadConfig;
//! use unipic_weights::Part;
//!
//! fn load(config: &LoadConfig) -> Result<(), Box<dyn std::error::Error>> {
//!     let options = config.resolve()?;
//!     let checkpoint = config.open()?;
//!     let tensors = options.load(&checkpoint, &[Part::Llm])?;
//!     let build = options.build(&tensors);
//!     let model = unipic_models::qwen2::Model::load(&build, &checkpoint.config().llm)?;
//!     # let _ = model;
//!     Ok(())
//! }
//! ```

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, DeviceLocation};
use serde::{Deserialize, Serialize};
use unipic_nn::{Build, LinearFormat, Ops};
use unipic_weights::plan::{LinearStorage, PlanFor, Precision, Target, plan};
use unipic_weights::{Checkpoint, LoadedTensors, Part, WeightsError};

use crate::nano;

/// Which checkpoint a process loads, onto what and how. These are keys of every service's configuration, at its top
/// level; names are resolved by [`LoadConfig::resolve`], so that a wrong one is an error that tells its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadConfig {
    /// `nano`, the embedded model, or the folder of a checkpoint in any layout.
    pub model: PathBuf,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// `auto` (f32 on a CPU, bf16 on a GPU), `f32` or `bf16`.
    pub dtype: String,
    /// How linear layers are held: `dense`, or `q8_0` for 8 bits a weight.
    pub linear: String,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self { model: nano::NAME.into(), device: "cpu".into(), dtype: "auto".into(), linear: "dense".into() }
    }
}

impl LoadConfig {
    /// What is wrong with the names, as (key, problem); opens no device.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let model = match self.model.as_os_str().is_empty() {
            true => {
                Err(LoadError::Name { key: "model", problem: "is empty: `nano` or the folder of a checkpoint".into() })
            }
            false => Ok(()),
        };
        let checks =
            [model, ordinal(&self.device).map(drop), dtype(&self.dtype).map(drop), linear(&self.linear).map(drop)];
        let named = |error| match error {
            LoadError::Name { key, problem } => (key, problem),
            other => ("device", other.to_string()),
        };
        checks.into_iter().filter_map(Result::err).map(named).collect()
    }

    /// Opens the device and resolves the names, for serving.
    ///
    /// # Errors
    /// When a name means nothing or the device cannot be opened.
    pub fn resolve(&self) -> Result<LoadOptions, LoadError> {
        let device = device(&self.device)?;
        let automatic = if device.is_cpu() { DType::F32 } else { DType::BF16 };
        let dtype = dtype(&self.dtype)?.unwrap_or(automatic);
        Ok(LoadOptions { device, dtype, linear_format: linear(&self.linear)?, ops: Ops::Inference })
    }

    /// Opens the checkpoint; no values are read yet.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open(&self) -> Result<Checkpoint, WeightsError> {
        open(&self.model)
    }
}

/// Opens the checkpoint that a configuration or a flag names: exactly `nano` is the embedded model, whatever folders there
/// are; anything else is a folder.
///
/// # Errors
/// As [`Checkpoint::open`].
pub fn open(model: &Path) -> Result<Checkpoint, WeightsError> {
    if model == Path::new(nano::NAME) { nano::checkpoint() } else { Checkpoint::open(model) }
}

/// What a process is to load, once nothing is wrong with it that can be known without reading values.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The checkpoint, opened.
    pub checkpoint: Checkpoint,
    /// Where and how its parts are loaded.
    pub options: LoadOptions,
}

/// Where and how parts are loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where weights live.
    pub device: Device,
    /// What weights and activations are held in.
    pub dtype: DType,
    /// How linear layers are held.
    pub linear_format: LinearFormat,
    /// Which operations parts run on.
    pub ops: Ops,
}

impl LoadOptions {
    /// Dense f32 on the CPU, for serving.
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32, linear_format: LinearFormat::Dense, ops: Ops::Inference }
    }

    /// Checks the tensors of `parts` and makes them ready to be built.
    ///
    /// # Errors
    /// As [`Checkpoint::load`]: one error that names every tensor at fault.
    pub fn load(&self, checkpoint: &Checkpoint, parts: &[Part]) -> Result<LoadedTensors, WeightsError> {
        checkpoint.load(parts, self.dtype, &self.device)
    }

    /// Bytes that `parts` take as they are held, once loaded.
    pub fn weight_bytes(&self, checkpoint: &Checkpoint, parts: &[Part]) -> u64 {
        let request = PlanFor {
            width: 0,
            height: 0,
            precision: if self.dtype == DType::F32 { Precision::F32 } else { Precision::Bf16 },
            linear: match self.linear_format {
                LinearFormat::Dense => LinearStorage::Dense,
                LinearFormat::Q8_0 => LinearStorage::Q8_0,
            },
            target: if self.device.is_cpu() { Target::Cpu } else { Target::Cuda },
        };
        plan(checkpoint.config(), parts, &request).weight_bytes()
    }

    /// The device's name, as configurations have it: `cpu` or `cuda:N`.
    pub fn device_name(&self) -> String {
        match self.device.location() {
            DeviceLocation::Cpu => "cpu".to_owned(),
            DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
        }
    }

    /// The root of the checkpoint's tree, where every part's `load` begins.
    pub fn build(&self, tensors: &LoadedTensors) -> Build<'static> {
        Build::new(tensors.var_builder(), self.ops).with_linear_format(self.linear_format)
    }
}

/// Why a device or a choice of format cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A name that means nothing here.
    #[error("`{key}` {problem}")]
    Name {
        /// The configuration's key.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// The device does not open.
    #[error("cannot open device `{name}`: {source}")]
    Device {
        /// What was asked for.
        name: String,
        /// What the device library says.
        source: candle_core::Error,
    },
}

/// Opens a device: `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// # Errors
/// When the name is none of these, or the GPU cannot be opened.
pub fn device(name: &str) -> Result<Device, LoadError> {
    match ordinal(name)? {
        None => Ok(Device::Cpu),
        Some(n) => Device::new_cuda(n).map_err(|source| LoadError::Device { name: name.into(), source }),
    }
}

/// The number of a GPU; none for the CPU.
fn ordinal(name: &str) -> Result<Option<usize>, LoadError> {
    let unknown = || LoadError::Name { key: "device", problem: format!("is `cpu`, `cuda` or `cuda:N`, not `{name}`") };
    match name.split_once(':') {
        None if name == "cpu" => Ok(None),
        None if name == "cuda" => Ok(Some(0)),
        Some(("cuda", n)) => n.parse().map(Some).map_err(|_| unknown()),
        _ => Err(unknown()),
    }
}

/// None for `auto`.
fn dtype(name: &str) -> Result<Option<DType>, LoadError> {
    match name {
        "auto" => Ok(None),
        "f32" => Ok(Some(DType::F32)),
        "bf16" => Ok(Some(DType::BF16)),
        _ => Err(LoadError::Name { key: "dtype", problem: format!("is `auto`, `f32` or `bf16`, not `{name}`") }),
    }
}

fn linear(name: &str) -> Result<LinearFormat, LoadError> {
    match name {
        "dense" => Ok(LinearFormat::Dense),
        "q8_0" => Ok(LinearFormat::Q8_0),
        _ => Err(LoadError::Name { key: "linear", problem: format!("is `dense` or `q8_0`, not `{name}`") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_name_is_told_with_its_key() {
        let config = LoadConfig { model: "".into(), device: "tpu".into(), dtype: "f8".into(), linear: "q2".into() };
        let keys: Vec<&str> = config.problems().iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["model", "device", "dtype", "linear"]);
    }

    #[test]
    fn nano_is_embedded_and_everything_else_is_a_folder() {
        assert!(LoadConfig::default().problems().is_empty());
        assert_eq!(LoadConfig::default().open().unwrap().path(), Path::new("nano"));
        // "nano" is the name; the folder of that name that stands beside this crate's sources is meant by "./nano".
        assert_eq!(open(Path::new("./nano")).unwrap().path(), Path::new("./nano"));
        for folder in ["./nano/absent", "Nano", "nano2"] {
            let error = open(Path::new(folder)).unwrap_err();
            assert!(matches!(error, WeightsError::NotACheckpoint { .. }), "{folder}: {error}");
        }
    }

    #[test]
    fn devices_are_cpu_and_numbered_gpus() {
        assert_eq!(ordinal("cpu").unwrap(), None);
        assert_eq!(ordinal("cuda").unwrap(), Some(0));
        assert_eq!(ordinal("cuda:3").unwrap(), Some(3));
        for name in ["", "cuda:", "cuda:x", "cpu:0", "metal"] {
            assert!(ordinal(name).is_err(), "{name}");
        }
    }

    #[test]
    fn weights_are_as_large_as_they_are_held() {
        let (checkpoint, parts) = (nano::checkpoint().unwrap(), [Part::Llm]);
        let dense = LoadOptions::cpu();
        let n: usize = checkpoint
            .stored()
            .filter(|tensor| Part::of(&tensor.name) == Some(Part::Llm))
            .map(|tensor| tensor.shape.iter().product::<usize>())
            .sum();
        assert_eq!(dense.weight_bytes(&checkpoint, &parts), 4 * n as u64);
        let half = LoadOptions { dtype: DType::BF16, ..dense };
        assert_eq!(half.weight_bytes(&checkpoint, &parts), 2 * n as u64);
        assert_eq!(half.device_name(), "cpu");
    }

    #[test]
    fn the_dtype_follows_the_device_unless_it_is_said() {
        let config = LoadConfig { model: "somewhere".into(), ..Default::default() };
        assert!(config.problems().is_empty());
        assert_eq!(config.resolve().unwrap().dtype, DType::F32);
        let config = LoadConfig { dtype: "bf16".into(), ..config };
        assert_eq!(config.resolve().unwrap().dtype, DType::BF16);
    }
}
