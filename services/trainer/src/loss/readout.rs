//! Readouts: what an inner state shows at each place of an image, or knows at a word about it, read off by one linear layer
//! and held against labels.
//!
//! Not part of the published losses. The published model takes its encoders from others, who trained them on billions of
//! pictures; nano's begin at random and would learn to see from one-word answers alone. The shapes world knows what stands
//! at every place, and a readout puts that knowledge where it is needed: into what the language model is shown, into the
//! words that name an object, and into what the diffusion head is told to draw. The linear layers serve training only and
//! are in no checkpoint.

use std::marker::PhantomData;

use candle_core::{Result, Tensor};
use unipic_nn::{Build, Linear};
use unipic_weights::config::ModelConfig;
use unipic_world::{Cell, Colour, Found, Mention, Shape};

use super::indices;

/// Prefix of the names of all readouts' tensors.
pub(crate) const PREFIX: &str = "readout.";

/// Objects that are told apart by their number; more are as many.
const MOST_COUNTED: usize = 5;

/// What is true of a state, as classes of several kinds.
pub trait Label {
    /// The number of classes of each kind.
    const N_CLASSES: &'static [usize];

    /// The class of one kind.
    fn class(&self, kind: usize) -> usize;
}

/// Shape and colour of an object, each with one more for "none", and the background's colour.
impl Label for Cell {
    const N_CLASSES: &'static [usize] = &[Shape::ALL.len() + 1, Colour::ALL.len() + 1, Colour::ALL.len()];

    fn class(&self, kind: usize) -> usize {
        match (kind, self.object) {
            (0, Some((shape, _))) => shape as usize + 1,
            (1, Some((_, colour))) => colour as usize + 1,
            (0 | 1, None) => 0,
            _ => self.background as usize,
        }
    }
}

/// Shape, colour, column and row of what is named, each with two more for "nothing" and "several", and how much there is.
impl Label for Mention {
    const N_CLASSES: &'static [usize] =
        &[Shape::ALL.len() + 2, Colour::ALL.len() + 2, Self::N_BANDS + 2, Self::N_BANDS + 2, MOST_COUNTED + 1];

    fn class(&self, kind: usize) -> usize {
        match kind {
            0 => found(self.shape, |shape| shape as usize),
            1 => found(self.colour, |colour| colour as usize),
            2 => found(self.column, |column| column),
            3 => found(self.row, |row| row),
            _ => self.n_objects.min(MOST_COUNTED),
        }
    }
}

fn found<T>(what: Found<T>, class: impl FnOnce(T) -> usize) -> usize {
    match what {
        Found::Nothing => 0,
        Found::Several => 1,
        Found::One(one) => 2 + class(one),
    }
}

/// One linear layer over inner states, which reads off the classes of a label.
#[derive(Clone, Debug)]
pub struct Readout<T>(Linear, PhantomData<T>);

/// The readouts of the three tasks.
#[derive(Clone, Debug)]
pub struct Readouts {
    /// Of an image as the language model is shown it for a question, `[B·N, H]`.
    pub seen: Readout<Cell>,
    /// Of an edit's source as the language model is shown it, `[B·N, H]`.
    pub source: Readout<Cell>,
    /// Of the diffusion head's conditions, `[ΣR, D]`.
    pub drawn: Readout<Cell>,
    /// Of words that name something an image shows or may show, as the language model's last layer reads them, `[ΣM, H]`.
    pub named: Readout<Mention>,
}

/// The readouts' names, each with the width of the states that it reads and its classes.
fn widths(config: &ModelConfig) -> [(&'static str, usize, usize); 4] {
    let (h, d) = (config.llm.hidden_size, config.mar.embed_dim);
    let (cell, mention) = (n_classes::<Cell>(), n_classes::<Mention>());
    [("seen", h, cell), ("source", h, cell), ("drawn", d, cell), ("named", h, mention)]
}

/// The classes of all kinds.
fn n_classes<T: Label>() -> usize {
    T::N_CLASSES.iter().sum()
}

/// Names and shapes of all readouts' tensors.
pub(crate) fn shapes(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let both = |(name, width, n): (&str, usize, usize)| {
        [(format!("{PREFIX}{name}.weight"), vec![n, width]), (format!("{PREFIX}{name}.bias"), vec![n])]
    };
    widths(config).into_iter().flat_map(both).collect()
}

impl Readouts {
    /// Takes the layers from a tree that has `readout.{seen,source,drawn,named}.{weight,bias}`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &ModelConfig) -> Result<Self> {
        let of = |(name, width, n)| Linear::load(&build.pp(format!("{PREFIX}{name}")), width, n);
        let [seen, source, drawn, named] = widths(config).map(of);
        Ok(Self {
            seen: Readout::of(seen?),
            source: Readout::of(source?),
            drawn: Readout::of(drawn?),
            named: Readout::of(named?),
        })
    }
}

impl<T: Label> Readout<T> {
    fn of(linear: Linear) -> Self {
        Self(linear, PhantomData)
    }

    /// The cross-entropy in nats of each kind of class, their mean over the states, added up.
    ///
    /// Shapes: `states` `[n, width]`, of `n` labels → scalar f32.
    ///
    /// # Errors
    /// When the numbers of states and labels differ, or the device fails.
    pub fn loss(&self, states: &Tensor, labels: &[T]) -> Result<Tensor> {
        if states.dim(0)? != labels.len() {
            candle_core::bail!("{:?} states of {} labels", states.shape(), labels.len());
        }
        let logits = self.0.forward(states)?;
        let (mut first, mut sum) = (0, Tensor::zeros((), logits.dtype(), logits.device())?);
        for (kind, &n) in T::N_CLASSES.iter().enumerate() {
            let classes = indices(labels.iter().map(|label| label.class(kind) as u32).collect(), states.device())?;
            sum = (sum + candle_nn::loss::cross_entropy(&logits.narrow(1, first, n)?.contiguous()?, &classes)?)?;
            first += n;
        }
        Ok(sum)
    }
}
