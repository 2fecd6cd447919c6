//! Readouts: what an inner state shows at each place of an image, read off by one linear layer and held against labels.
//!
//! Not part of the published losses. The published model takes its encoders from others, who trained them on billions of
//! pictures; nano's begin at random and would learn to see from one-word answers alone. The shapes world knows what stands
//! at every place, and a readout puts that knowledge where it is needed: into what the language model is shown, and into
//! what the diffusion head is told to draw. The linear layers serve training only and are in no checkpoint.

use candle_core::{Result, Tensor};
use unipic_nn::{Build, Linear};
use unipic_weights::config::ModelConfig;
use unipic_world::{Cell, Colour, Shape};

use super::indices;

/// Prefix of the names of all readouts' tensors.
pub(crate) const PREFIX: &str = "readout.";

/// Classes read at a place: shapes and colours of an object, each with one more for "none", and the background's colour.
const N_CLASSES: [usize; 3] = [Shape::ALL.len() + 1, Colour::ALL.len() + 1, Colour::ALL.len()];

/// One linear layer over inner states.
#[derive(Clone, Debug)]
pub struct Readout(Linear);

/// The readouts of the three tasks.
#[derive(Clone, Debug)]
pub struct Readouts {
    /// Of an image as the language model is shown it for a question, `[B·N, H]`.
    pub seen: Readout,
    /// Of an edit's source as the language model is shown it, `[B·N, H]`.
    pub source: Readout,
    /// Of the diffusion head's conditions, `[ΣR, D]`.
    pub drawn: Readout,
}

/// The readouts, each with the width of the states that it reads.
fn widths(config: &ModelConfig) -> [(&'static str, usize); 3] {
    let (h, d) = (config.llm.hidden_size, config.mar.embed_dim);
    [("seen", h), ("source", h), ("drawn", d)]
}

/// Names and shapes of all readouts' tensors.
pub(crate) fn shapes(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let n: usize = N_CLASSES.iter().sum();
    let both = |(name, width): (&str, usize)| {
        [(format!("{PREFIX}{name}.weight"), vec![n, width]), (format!("{PREFIX}{name}.bias"), vec![n])]
    };
    widths(config).into_iter().flat_map(both).collect()
}

impl Readouts {
    /// Takes the layers from a tree that has `readout.{seen,source,drawn}.{weight,bias}`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &ModelConfig) -> Result<Self> {
        let n = N_CLASSES.iter().sum();
        let of = |(name, width)| Linear::load(&build.pp(format!("{PREFIX}{name}")), width, n).map(Readout);
        let [seen, source, drawn] = widths(config).map(of);
        Ok(Self { seen: seen?, source: source?, drawn: drawn? })
    }
}

impl Readout {
    /// The cross-entropy in nats of each of shape, colour and background, their mean over the places, added up.
    ///
    /// Shapes: `states` `[n, width]`, of `n` cells → scalar f32.
    ///
    /// # Errors
    /// When the numbers of states and cells differ, or the device fails.
    pub fn loss(&self, states: &Tensor, cells: &[Cell]) -> Result<Tensor> {
        if states.dim(0)? != cells.len() {
            candle_core::bail!("{:?} states of {} cells", states.shape(), cells.len());
        }
        let logits = self.0.forward(states)?;
        let (mut first, mut sum) = (0, Tensor::zeros((), logits.dtype(), logits.device())?);
        for (kind, n) in N_CLASSES.into_iter().enumerate() {
            let classes = indices(cells.iter().map(|cell| class(cell, kind)).collect(), states.device())?;
            sum = (sum + candle_nn::loss::cross_entropy(&logits.narrow(1, first, n)?.contiguous()?, &classes)?)?;
            first += n;
        }
        Ok(sum)
    }
}

/// The class of a cell in one of the three.
fn class(cell: &Cell, kind: usize) -> u32 {
    match (kind, cell.object) {
        (0, Some((shape, _))) => shape as u32 + 1,
        (1, Some((_, colour))) => colour as u32 + 1,
        (0 | 1, None) => 0,
        _ => cell.background as u32,
    }
}
