//! Training the three tasks together, on one model.

mod feed;
mod sheet;

use candle_core::Tensor;
use unipic_imaging::Rgb8;
use unipic_models::generation::ImageGrid;
use unipic_models::prompt::PromptTokenizer;
use unipic_nn::{Dropout, Ops};
use unipic_weights::Part;
use unipic_weights::config::ModelConfig;

use super::{Share, Sums, Task, gradients};
use crate::TrainError;
use crate::data::{Kind, Source};
use crate::draws::{Purpose, draws};
use crate::loss;
use crate::model::TrainModel;
use crate::parameters::Parameters;
use crate::recipe::{Encoder, Joint, Stage};
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
        let stride = config.vae.stride();
        if !settings.resolution.is_multiple_of(stride) || settings.resolution == 0 {
            return Err(TrainError::Data(format!(
                "joint.resolution: {} is no multiple of {stride}",
                settings.resolution
            )));
        }
        let parts = stage.parts().map_err(TrainError::Data)?;
        let tokenizer = PromptTokenizer::from_json(tokenizer.as_bytes())?;
        if tokenizer.last_id() as usize >= config.llm.vocab_size {
            return Err(TrainError::Data(format!(
                "model.llm.vocab_size: below the tokenizer's {}",
                tokenizer.last_id()
            )));
        }
        let side = settings.resolution / stride;
        let grid = ImageGrid { rows: side, cols: side };
        Ok(Self {
            stage,
            settings,
            seed,
            parameters,
            model: TrainModel::load(&parameters.build(Ops::Training, &parts), config)?,
            feed: Feed::new((stage, settings), seed, parameters, config, tokenizer, grid)?,
            shares: shares(stage, settings),
            parts,
        })
    }

    /// A micro-batch's loss and its weight among those of its task.
    fn loss(&self, step: usize, share: usize) -> Result<(Kind, Tensor, f64), TrainError> {
        let (kind, first, n) = self.shares[share];
        let n_task = self.n_task(kind);
        let slots: Vec<u64> = (first..first + n).map(|i| (step * n_task + i) as u64).collect();
        let model = &self.model_of(step, share);
        let loss = match kind {
            Kind::Generation => {
                let batch = self.feed.generation(&slots)?;
                let (grid, latents, prompts) = (self.feed.grid(), &batch.latents, &batch.prompts);
                loss::generate(model, &loss::Generation { grid, latents, prompts }, &batch.draws)?
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
                loss::edit(model, &edit, &batch.draws)?
            }
            Kind::Understanding => {
                let batch = self.feed.understanding(&slots)?;
                let images = match self.settings.encoder {
                    Encoder::Siglip2 => loss::Images::Siglip(&batch.images),
                    Encoder::Mar => loss::Images::Mar { grid: self.feed.grid(), latents: &batch.images },
                };
                let (prompts, answers, earlier) = (&batch.prompts, &batch.answers, &batch.earlier);
                loss::understand(model, &loss::Understanding { images, prompts, answers, earlier })?
            }
        };
        Ok((kind, loss, n as f64 / n_task as f64))
    }

    /// The model with the masks of a micro-batch.
    fn model_of(&self, step: usize, share: usize) -> TrainModel {
        let pass = (step * self.shares.len() + share) as u64;
        let key = draws(self.seed.0, self.seed.1, Purpose::Dropout, pass).bits();
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

/// Cuts a step's batch by tasks, and each task's samples into micro-batches.
fn shares(stage: &Stage, settings: &Joint) -> Vec<(Kind, usize, usize)> {
    let mix = settings.mix;
    let total = mix.understanding + mix.generation + mix.editing;
    let of = |share: f64| (share / total * stage.batch as f64).round() as usize;
    let (understanding, editing) = (of(mix.understanding), of(mix.editing));
    let generation = match mix.generation > 0.0 {
        true => stage.batch.saturating_sub(understanding + editing).max(1),
        false => 0,
    };
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
        let (kind, loss, part) = self.loss(step, share)?;
        let name = match kind {
            Kind::Understanding => "understanding",
            Kind::Generation => "generation",
            Kind::Editing => "editing",
        };
        let losses = Sums::from([(name, (f64::from(loss.detach().to_scalar::<f32>()?) * part, part))]);
        let weighted = (loss * (self.weight(kind) * part))?;
        let gradients = gradients(&weighted, self.parameters.of_parts(&self.parts))?;
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
