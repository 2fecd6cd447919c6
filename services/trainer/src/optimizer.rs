//! AdamW with decoupled weight decay, clipping by the norm of all gradients, and an exponential average of the weights.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use rayon::prelude::*;

use crate::TrainError;
use crate::recipe::Stage;

/// Added to the root of the second moment.
const EPS: f32 = 1e-8;

/// Gradients by parameter name, each in the order of its tensor's values.
pub(crate) type Gradients = BTreeMap<String, Vec<f32>>;

/// The optimizer's memory of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slot {
    pub(crate) moment: Vec<f32>,
    pub(crate) second: Vec<f32>,
    /// The average of the weights; empty without averaging.
    pub(crate) average: Vec<f32>,
}

/// The optimizer of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Optimizer {
    /// By parameter name.
    pub(crate) slots: BTreeMap<String, Slot>,
    /// Steps taken.
    pub(crate) step: usize,
}

impl Optimizer {
    /// Before the first step.
    pub(crate) fn new<'a>(
        trained: impl Iterator<Item = (&'a str, &'a Var)>,
        stage: &Stage,
    ) -> Result<Self, TrainError> {
        let slot = |(name, var): (&str, &Var)| {
            let values = values(var)?;
            let zeros = vec![0.0; values.len()];
            let average = if stage.ema > 0.0 { values } else { Vec::new() };
            Ok((name.to_owned(), Slot { moment: zeros.clone(), second: zeros, average }))
        };
        Ok(Self { slots: trained.map(slot).collect::<Result<_, TrainError>>()?, step: 0 })
    }

    /// Takes one step; gives the norm of the gradients before clipping. A norm that is not finite changes nothing.
    pub(crate) fn step<'a>(
        &mut self,
        trained: impl Iterator<Item = (&'a str, &'a Var)>,
        gradients: &Gradients,
        stage: &Stage,
    ) -> Result<f64, TrainError> {
        let norm = norm(gradients);
        if !norm.is_finite() {
            return Ok(norm);
        }
        let rate = stage.rate(self.step) as f32;
        self.step += 1;
        let (b1, b2) = (stage.betas.0 as f32, stage.betas.1 as f32);
        let bias = |b: f64| (1.0 - b.powi(self.step.min(i32::MAX as usize) as i32)) as f32;
        let update = Update {
            rate,
            scale: (stage.clip / norm.max(stage.clip)) as f32,
            betas: (b1, b2),
            bias: (bias(stage.betas.0), bias(stage.betas.1)),
            // An average over the last few steps only, while there are few: the first weights are noise.
            ema: stage.ema.min((1.0 + self.step as f64) / (10.0 + self.step as f64)) as f32,
            decay: 0.0,
        };
        let mut work: Vec<(&Var, &mut Slot, &Vec<f32>)> = Vec::new();
        let vars: BTreeMap<&str, &Var> = trained.collect();
        for (name, slot) in &mut self.slots {
            if let (Some(var), Some(gradient)) = (vars.get(name.as_str()), gradients.get(name)) {
                work.push((var, slot, gradient));
            }
        }
        work.into_par_iter().try_for_each(|(var, slot, gradient)| {
            let matrix = var.dims().iter().filter(|n| **n > 1).count() > 1;
            let decay = if matrix { rate * stage.weight_decay as f32 } else { 0.0 };
            let mut weights = values(var)?;
            Update { decay, ..update }.apply(&mut weights, slot, gradient);
            var.set(&Tensor::from_vec(weights, var.shape(), &Device::Cpu)?.to_device(var.device())?)?;
            Ok::<(), TrainError>(())
        })?;
        Ok(norm)
    }
}

#[derive(Clone, Copy)]
struct Update {
    rate: f32,
    scale: f32,
    betas: (f32, f32),
    bias: (f32, f32),
    ema: f32,
    decay: f32,
}

impl Update {
    fn apply(self, weights: &mut [f32], slot: &mut Slot, gradient: &[f32]) {
        let ((b1, b2), (c1, c2)) = (self.betas, self.bias);
        let moments = slot.moment.iter_mut().zip(&mut slot.second);
        for ((weight, gradient), (moment, second)) in weights.iter_mut().zip(gradient).zip(moments) {
            let gradient = gradient * self.scale;
            *moment = b1 * *moment + (1.0 - b1) * gradient;
            *second = b2 * *second + (1.0 - b2) * gradient * gradient;
            *weight -= self.decay * *weight + self.rate * (*moment / c1) / ((*second / c2).sqrt() + EPS);
        }
        for (average, weight) in slot.average.iter_mut().zip(weights) {
            *average += (1.0 - self.ema) * (*weight - *average);
        }
    }
}

/// The norm of all gradients together, in f64 and in the order of names.
fn norm(gradients: &Gradients) -> f64 {
    let square = |values: &Vec<f32>| values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
    let squares: Vec<f64> = gradients.par_iter().map(|(_, values)| square(values)).collect();
    squares.iter().sum::<f64>().sqrt()
}

/// The values of a tensor, on the CPU.
pub(crate) fn values(tensor: &Tensor) -> Result<Vec<f32>, TrainError> {
    Ok(tensor.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
