//! What a stage does in a step, apart from the optimizer.

mod autoencoder;
mod joint;

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use unipic_imaging::Rgb8;

use crate::TrainError;
use crate::data::Source;
use crate::optimizer::{Gradients, values};

pub(crate) use autoencoder::AutoencoderTask;
pub(crate) use joint::JointTask;

/// Losses by name, each a sum with the number of things summed.
pub(crate) type Sums = BTreeMap<&'static str, (f64, f64)>;

/// What a micro-batch gives: gradients of its share of the step's loss, and its losses.
pub(crate) struct Share {
    pub(crate) gradients: Gradients,
    pub(crate) losses: Sums,
}

/// A kind of stage.
pub(crate) trait Task: Sync {
    /// Samples of a step, cut into micro-batches: how many there are.
    fn n_shares(&self) -> usize;

    /// One micro-batch of a step.
    fn share(&self, step: usize, share: usize) -> Result<Share, TrainError>;

    /// Where its samples come from.
    fn source(&self) -> &Source;

    /// The samples of a step, for the report on a loss that is not finite.
    fn describe(&self, step: usize) -> serde_json::Value;

    /// A sheet of samples of what has been learnt so far, with the averaged weights.
    fn sheet(&self, step: usize) -> Result<Option<Rgb8>, TrainError>;
}

/// Gradients of a loss by name. A trained parameter that the batch did not touch has none.
pub(crate) fn gradients<'a>(
    loss: &Tensor,
    trained: impl Iterator<Item = (&'a str, &'a Var)>,
) -> Result<Gradients, TrainError> {
    let store = loss.backward()?;
    let mut gradients = Gradients::new();
    for (name, var) in trained {
        if let Some(gradient) = store.get(var) {
            gradients.insert(name.to_owned(), values(gradient)?);
        }
    }
    Ok(gradients)
}

/// Adds up shares in their order.
pub(crate) fn sum(shares: Vec<Share>) -> Share {
    let mut all = Share { gradients: Gradients::new(), losses: Sums::new() };
    for share in shares {
        for (name, gradient) in share.gradients {
            match all.gradients.get_mut(&name) {
                Some(sum) => sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value),
                None => {
                    all.gradients.insert(name, gradient);
                }
            }
        }
        for (name, (sum, n)) in share.losses {
            let entry = all.losses.entry(name).or_insert((0.0, 0.0));
            *entry = (entry.0 + sum, entry.1 + n);
        }
    }
    all
}
