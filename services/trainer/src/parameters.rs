//! The weights while they are trained: variables by checkpoint name.

mod begin;

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use unipic_nn::{Build, Ops};
use unipic_weights::config::ModelConfig;
use unipic_weights::{Checkpoint, Part, manifest};

use crate::TrainError;
use crate::loss::readout;

/// Whether a tensor learns where these parts do.
fn learns(name: &str, parts: &[Part]) -> bool {
    name.starts_with(readout::PREFIX) || Part::of(name).is_some_and(|part| parts.contains(&part))
}

/// Every tensor of a model, each a variable.
pub(crate) struct Parameters {
    vars: BTreeMap<String, Var>,
    device: Device,
}

impl Parameters {
    /// Random weights to begin with; a value depends on the seed, the tensor's name and its place.
    ///
    /// # Errors
    /// When the device refuses a tensor.
    pub(crate) fn random(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, TrainError> {
        let var = |spec: manifest::TensorSpec| {
            let values = begin::values(&spec, config, seed);
            let tensor = Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu)?.to_device(device)?;
            Ok((spec.name, Var::from_tensor(&tensor)?))
        };
        let vars = manifest::tensors(config, &Part::ALL).into_iter().map(var).collect::<Result<_, TrainError>>()?;
        Ok(Self { vars, device: device.clone() })
    }

    /// The weights of some parts of a checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen or not finite.
    pub(crate) fn of_checkpoint(checkpoint: &Checkpoint, parts: &[Part], device: &Device) -> Result<Self, TrainError> {
        let tensors = checkpoint.load(parts, DType::F32, device)?.var_builder();
        let var = |spec: manifest::TensorSpec| {
            let tensor = tensors.get(spec.shape.as_slice(), &spec.name)?;
            Ok((spec.name, Var::from_tensor(&tensor)?))
        };
        let specs = manifest::tensors(checkpoint.config(), parts).into_iter();
        Ok(Self { vars: specs.map(var).collect::<Result<_, TrainError>>()?, device: device.clone() })
    }

    /// Weights from tensors by name, such as a saved state's.
    ///
    /// # Errors
    /// When the device refuses a tensor.
    pub(crate) fn of_tensors(
        tensors: impl IntoIterator<Item = (String, Tensor)>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let var = |(name, tensor): (String, Tensor)| Ok((name, Var::from_tensor(&tensor.to_device(device)?)?));
        Ok(Self { vars: tensors.into_iter().map(var).collect::<Result<_, TrainError>>()?, device: device.clone() })
    }

    /// The same with the tensors of `others` that are not here.
    pub(crate) fn completed(mut self, others: Self) -> Self {
        for (name, var) in others.vars {
            self.vars.entry(name).or_insert(var);
        }
        self
    }

    /// The same with the layers that read off inner states in training, at zero where there are none yet.
    ///
    /// # Errors
    /// When the device refuses a tensor.
    pub(crate) fn with_readouts(mut self, config: &ModelConfig) -> Result<Self, TrainError> {
        for (name, shape) in readout::shapes(config) {
            if !self.vars.contains_key(&name) {
                self.vars.insert(name, Var::zeros(shape, DType::F32, &self.device)?);
            }
        }
        Ok(self)
    }

    /// All variables by name.
    pub(crate) fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// The variables of some parts, and of what reads off inner states.
    pub(crate) fn of_parts<'a>(&'a self, parts: &'a [Part]) -> impl Iterator<Item = (&'a str, &'a Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var)).filter(move |(name, _)| learns(name, parts))
    }

    /// The root of the tree for building a model that learns: `trained` parts record gradients, all others do not.
    /// What is built sees every later change of the variables.
    #[must_use]
    pub(crate) fn build(&self, ops: Ops, trained: &[Part]) -> Build<'static> {
        let seen = |(name, var): (&String, &Var)| {
            (name.clone(), if learns(name, trained) { var.as_tensor().clone() } else { var.as_tensor().detach() })
        };
        let tensors: HashMap<String, Tensor> = self.vars.iter().map(seen).collect();
        Build::new(VarBuilder::from_tensors(tensors, DType::F32, &self.device), ops)
    }

    /// Where the variables are.
    #[must_use]
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }
}
