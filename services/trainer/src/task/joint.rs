//! Training the three tasks together, on one model.

mod feed;
mod names;
mod sheet;

use candle_core::Tensor;
use unipic_imaging::Rgb8;
use unipic_models::generation::ImageGrid;
use unipic_models::prompt::PromptTokenizer;
use unipic_nn::{Dropout, Ops};
use unipic_weights::Part;
use unipic_weights::config::ModelConfig;
use unipic_world::{Cell, Mention};

use super::{Share, Sums, Task, gradients};
use crate::TrainError;
use crate::data::{Kind, Source};
use crate::draws::{Purpose, draws};
use crate::loss;
use crate::loss::readout::{Label, Readout, Readouts};
use crate::model::TrainModel;
use crate::optimizer::Gradients;
use crate::parameters::Parameters;
use crate::recipe::{Encoder, Joint, Samples, Stage};
use feed::Feed;

/// A stage of this kind.
pub(crate) struct JointTask<'a> {
    stage: &'a Stage,
    settings: &'a Joint,
    /// The run's seed and the stage's number.
    seed: (u64, usize),
    parameters: &'a Parameters,
    parts: Vec<Part>,
    model: TrainModel,
    readouts: Option<Readouts>,
    feed: Feed<'a>,
    /// The micro-batches of a step: what each trains, its first sample among those of its task, and how many.
    shares: Vec<(Kind, usize, usize)>,
}

impl<'a> JointTask<'a> {
    /// Builds the model over the parameters.
    ///
    /// # Errors
    /// When tensors are missing or sizes do not fit.
    pub(crate) fn new(
        stage: &'a Stage,
        settings: &'a Joint,
        seed: (u64, usize),
        parameters: &'a Parameters,
        config: &'a ModelConfig,
        tokenizer: &str,
    ) -> Result<Self, TrainError> {
        let parts = stage.parts().map_err(TrainError::Data)?;
        let tokenizer = PromptTokenizer::from_json(tokenizer.as_bytes())?;
        if tokenizer.last_id() as usize >= config.llm.vocab_size {
            return Err(TrainError::Data(format!(
                "model.llm.vocab_size: below the tokenizer's {}",
                tokenizer.last_id()
            )));
        }
        let side = settings.resolution / config.vae.stride();
        let grid = ImageGrid { rows: side, cols: side };
        let build = parameters.build(Ops::Training, &parts);
        Ok(Self {
            stage,
            settings,
            seed,
            parameters,
            readouts: settings.readout.is_some().then(|| Readouts::load(&build, config)).transpose()?,
            model: TrainModel::load(&build, config)?,
            feed: Feed::new((stage, settings), seed, parameters, config, tokenizer, grid)?,
            shares: shares(stage, settings),
            parts,
        })
    }

    /// A micro-batch's losses: its task's, and of the readouts that see it.
    fn losses(&self, step: usize, share: usize) -> Result<Vec<Weighted>, TrainError> {
        let (kind, first, n) = self.shares[share];
        let n_task = self.n_task(kind);
        let slots: Vec<u64> = (first..first + n).map(|i| (step * n_task + i) as u64).collect();
        let model = &self.model_of(step, share);
        let (name, outcome, labels) = match kind {
            Kind::Generation => {
                let batch = self.feed.generation(&slots)?;
                let (grid, latents, prompts) = (self.feed.grid(), &batch.latents, &batch.prompts);
                let outcome = loss::generate(model, &loss::Generation { grid, latents, prompts }, &batch.draws)?;
                let drawn = masked(batch.cells, &batch.draws);
                ("generation", outcome, Labels { drawn, ..Labels::default() })
            }
            Kind::Editing => {
                let batch = self.feed.editing(&slots)?;
                let (grid, latents, sources) = (self.feed.grid(), &batch.latents, &batch.sources);
                let edit = loss::Edit {
                    grid,
                    latents,
                    sources,
                    prompts: &batch.prompts,
                    input_gradient: self.settings.input_gradient,
                };
                let outcome = loss::edit(model, &edit, &batch.draws)?;
                let drawn = masked(batch.cells, &batch.draws);
                ("editing", outcome, Labels { shown: batch.source_cells, drawn, named: batch.mentions })
            }
            Kind::Understanding => {
                let batch = self.feed.understanding(&slots)?;
                let images = match self.settings.encoder {
                    Encoder::Siglip2 => loss::Images::Siglip(&batch.images),
                    Encoder::Mar => loss::Images::Mar { grid: self.feed.grid(), latents: &batch.images },
                };
                if let Some((readouts, weight)) = self.seeing_alone() {
                    let shown = loss::shown(model, images)?;
                    return Ok(read(("seen", weight, &readouts.seen), Some(&shown), &batch.cells)?
                        .into_iter()
                        .collect());
                }
                let (prompts, answers, earlier) = (&batch.prompts, &batch.answers, &batch.earlier);
                let outcome = loss::understand(model, &loss::Understanding { images, prompts, answers, earlier })?;
                let (shown, named) = (batch.cells, batch.mentions);
                ("understanding", outcome, Labels { shown, named, ..Labels::default() })
            }
        };
        let mut losses = vec![Weighted { name, weight: self.weight(kind), loss: outcome.loss }];
        if let (Some(readouts), Some(weights)) = (&self.readouts, self.settings.readout) {
            let of_shown = match kind {
                Kind::Editing => ("source", weights.source, &readouts.source),
                Kind::Generation | Kind::Understanding => ("seen", weights.seen, &readouts.seen),
            };
            let of_drawn = ("drawn", weights.drawn, &readouts.drawn);
            let of_named = ("named", weights.named, &readouts.named);
            losses.extend(read(of_shown, outcome.shown.as_ref(), &labels.shown)?);
            losses.extend(read(of_drawn, outcome.conditions.as_ref(), &labels.drawn)?);
            losses.extend(read(of_named, outcome.named.as_ref(), &labels.named)?);
        }
        Ok(losses)
    }

    /// Where answers have no weight, images are encoded and read off, and no question is computed.
    fn seeing_alone(&self) -> Option<(&Readouts, f64)> {
        let weight = self.settings.readout?.seen;
        let alone = self.settings.loss_weights.understanding == 0.0 && weight > 0.0;
        self.readouts.as_ref().filter(|_| alone).map(|readouts| (readouts, weight))
    }

    /// The model with the masks of a micro-batch.
    fn model_of(&self, step: usize, share: usize) -> TrainModel {
        let pass = (step * self.shares.len() + share) as u64;
        let key = draws(self.seed, (Purpose::Dropout, 0), pass).bits();
        self.model.with_dropout(Dropout::new(self.stage.dropout, key))
    }

    /// Samples of a task in a step.
    fn n_task(&self, kind: Kind) -> usize {
        self.shares.iter().filter(|(k, ..)| *k == kind).map(|(_, _, n)| n).sum()
    }

    fn weight(&self, kind: Kind) -> f64 {
        let weights = self.settings.loss_weights;
        match kind {
            Kind::Understanding => weights.understanding,
            Kind::Generation => weights.generation,
            Kind::Editing => weights.editing,
        }
    }
}

/// What is true of a micro-batch's states, in their order.
#[derive(Default)]
struct Labels {
    /// Of images that are inputs.
    shown: Vec<Cell>,
    /// Of what the diffusion head is told.
    drawn: Vec<Cell>,
    /// Of words that name something.
    named: Vec<Mention>,
}

/// One of a micro-batch's losses.
struct Weighted {
    name: &'static str,
    weight: f64,
    loss: Tensor,
}

/// A readout's loss where it has weight, and something to read.
fn read<T: Label>(
    (name, weight, readout): (&'static str, f64, &Readout<T>),
    states: Option<&Tensor>,
    labels: &[T],
) -> Result<Option<Weighted>, TrainError> {
    match states {
        Some(states) if weight > 0.0 => Ok(Some(Weighted { name, weight, loss: readout.loss(states, labels)? })),
        _ => Ok(None),
    }
}

/// The cells of masked places.
fn masked(cells: Vec<Cell>, draws: &loss::Draws) -> Vec<Cell> {
    cells.into_iter().zip(&draws.masked).filter_map(|(cell, masked)| masked.then_some(cell)).collect()
}

/// Cuts a step's batch by tasks, and each task's samples into micro-batches.
fn shares(stage: &Stage, settings: &Joint) -> Vec<(Kind, usize, usize)> {
    let Samples { understanding, generation, editing } = settings.mix.samples(stage.batch);
    let tasks = [(Kind::Generation, generation), (Kind::Editing, editing), (Kind::Understanding, understanding)];
    let cut = |(kind, n): (Kind, usize)| {
        (0..n).step_by(stage.micro_batch).map(move |first| (kind, first, stage.micro_batch.min(n - first)))
    };
    tasks.into_iter().flat_map(cut).collect()
}

impl Task for JointTask<'_> {
    fn n_shares(&self) -> usize {
        self.shares.len()
    }

    fn share(&self, step: usize, share: usize) -> Result<Share, TrainError> {
        let (kind, _, n) = self.shares[share];
        let part = n as f64 / self.n_task(kind) as f64;
        let (mut losses, mut weighted) = (Sums::new(), Vec::new());
        for Weighted { name, weight, loss } in self.losses(step, share)? {
            losses.insert(name, (f64::from(loss.detach().to_scalar::<f32>()?) * part, part));
            // What has no weight is told and teaches nothing: its gradients would be zeros that look like learning.
            if weight > 0.0 {
                weighted.push((weight * part, loss));
            }
        }
        let gradients = match weighted.is_empty() {
            true => Gradients::new(),
            false => gradients(&loss::total(&weighted)?, self.parameters.of_parts(&self.parts))?,
        };
        Ok(Share { gradients, losses })
    }

    fn describe(&self, step: usize) -> serde_json::Value {
        let samples = |&(kind, first, n): &(Kind, usize, usize)| {
            let slots = (first..first + n).map(|i| (step * self.n_task(kind) + i) as u64);
            serde_json::json!({ "task": format!("{kind:?}"), "samples": self.feed.describe(kind, slots) })
        };
        self.shares.iter().map(samples).collect()
    }

    fn source(&self) -> &Source {
        self.feed.source()
    }

    fn sheet(&self, _: usize) -> Result<Option<Rgb8>, TrainError> {
        sheet::sheet(self.parameters, &self.model.config, &self.feed)
    }
}
