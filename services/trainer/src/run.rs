//! A run: stage after stage, saved as it goes.

mod begin;
mod checks;
mod resume;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{DType, Device};
use sha2::{Digest, Sha256};
use unipic_weights::config::ModelConfig;
use unipic_weights::{Part, StoredDtype, WeightsError};

use crate::TrainError;
use crate::curves;
use crate::data::{self, Source};
use crate::folder::{self, MODEL, STATE, UNFINISHED};
use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use crate::recipe::{Recipe, Stage};
use crate::report::{Journal, StepReport, replace};
use crate::state::{self, Position};
use crate::task::{AutoencoderTask, JointTask, Task, sum};
use crate::tokenizer;
use crate::workers::Workers;
use begin::begin;
use checks::{check_finite, check_learning};

/// How a run is done, none of which changes its result.
pub struct Options<'a> {
    /// The run's folder: state, metrics, curves, sheets, and the model of the last finished stage.
    pub folder: PathBuf,
    /// Threads that compute; each takes whole micro-batches.
    pub n_threads: usize,
    /// Where the weights live.
    pub device: Device,
    /// Steps from one sample sheet to the next; 0 for none but at the end of a stage.
    pub sheet_every: usize,
    /// Set from outside to stop: the state is saved and the run ends after the step it is in.
    pub stop: &'a AtomicBool,
    /// Hears of every step.
    pub on_step: &'a mut dyn FnMut(&StepReport),
}

/// Runs a recipe to its end, from where the folder's saved state stands. Gives the folder of the finished model.
///
/// # Errors
/// When the folder belongs to another recipe, is in use or is no run's, rows of a stage to come cannot be learnt from, a
/// trained part gets no gradient, data or disk fail, a loss is not finite, or the run was stopped; what had been saved
/// before stays.
pub fn run<'a>(recipe: &'a Recipe, options: Options<'a>) -> Result<PathBuf, TrainError> {
    let _claim = folder::claim(&options.folder)?;
    let mut run = Run::open(recipe, options)?;
    while run.position.stage < recipe.stages.len() {
        run.stage()?;
    }
    Ok(run.options.folder.join(MODEL))
}

struct Run<'a> {
    recipe: &'a Recipe,
    options: Options<'a>,
    position: Position,
    parameters: Parameters,
    optimizer: Option<Optimizer>,
    journal: Journal,
    tokenizer: String,
    workers: Workers,
}

impl<'a> Run<'a> {
    fn open(recipe: &'a Recipe, options: Options<'a>) -> Result<Self, TrainError> {
        let text = toml::to_string(recipe).map_err(|e| TrainError::Data(e.to_string()))?;
        let hash = fingerprint(recipe, &text)?;
        let saved = state::load(&options.folder.join(STATE), &options.device)?;
        let (position, parameters, optimizer) = match saved {
            Some((position, parameters, optimizer)) => {
                if position.recipe != hash {
                    let why = resume::why(&options.folder, &text);
                    return Err(TrainError::Resume { path: options.folder.clone(), why });
                }
                (position, parameters, Some(optimizer))
            }
            None => {
                let (parameters, config) = begin(recipe, &options.device)?;
                (Position { recipe: hash, stage: 0, step: 0, config, seconds: 0.0 }, parameters, None)
            }
        };
        data::judge(&recipe.stages, position.stage, recipe.seed)?;
        let reads = recipe.stages.iter().any(|stage| stage.joint.as_ref().is_some_and(|joint| joint.readout.is_some()));
        let parameters = if reads { parameters.with_readouts(&position.config)? } else { parameters };
        replace(&options.folder.join(resume::RECIPE), text.as_bytes())?;
        let tokenizer = tokenizer::json(recipe)?;
        let journal = Journal::open(&options.folder, position.stage, position.step)?;
        let workers = Workers::new(options.n_threads)?;
        Ok(Self { recipe, options, position, parameters, optimizer, journal, tokenizer, workers })
    }

    /// Runs the rest of the stage the run stands in.
    fn stage(&mut self) -> Result<(), TrainError> {
        let (recipe, number) = (self.recipe, self.position.stage);
        let stage = &recipe.stages[number];
        let parts = stage.parts().map_err(TrainError::Data)?;
        let mut optimizer = match self.optimizer.take() {
            Some(optimizer) if self.position.step > 0 => optimizer,
            _ => Optimizer::new(self.parameters.of_parts(&parts), stage)?,
        };
        {
            let task = task(recipe, number, &self.parameters, &self.position.config, &self.tokenizer)?;
            let mut n_bad = list_bad_rows(&self.journal, task.source(), 0)?;
            while self.position.step < stage.steps {
                let report = self.step(stage, &parts, &*task, &mut optimizer)?;
                check_finite(&report, &*task, &self.journal)?;
                self.position.seconds = report.seconds;
                self.position.step += 1;
                self.journal.step(&report)?;
                (self.options.on_step)(&report);
                let done = self.position.step;
                let stopped = self.options.stop.load(Ordering::Relaxed);
                if done.is_multiple_of(stage.save_every) || stopped {
                    let path = self.options.folder.join(STATE);
                    state::save(&path, &self.position, &self.parameters, &optimizer)?;
                    n_bad = list_bad_rows(&self.journal, task.source(), n_bad)?;
                }
                let every = self.options.sheet_every;
                if (every > 0 && done.is_multiple_of(every)) || done == stage.steps {
                    self.show(&*task, &optimizer)?;
                }
                if stopped && done < stage.steps {
                    return Err(TrainError::Stopped { stage: stage.name.clone(), step: done });
                }
            }
            list_bad_rows(&self.journal, task.source(), n_bad)?;
        }
        self.finish(stage, &optimizer)
    }

    /// Takes the step the run stands at. The weights stay where a loss or the gradients' norm is not finite.
    fn step(
        &self,
        stage: &Stage,
        parts: &[Part],
        task: &dyn Task,
        optimizer: &mut Optimizer,
    ) -> Result<StepReport, TrainError> {
        let (began, step) = (Instant::now(), self.position.step);
        let share = sum(self.workers.map(task.n_shares(), |share| task.share(step, share))?);
        if step == 0 {
            check_learning(stage, parts, &share.gradients)?;
        }
        let losses: BTreeMap<String, f64> =
            share.losses.iter().map(|(name, (sum, n))| ((*name).to_owned(), sum / n.max(1.0))).collect();
        let norm = match losses.values().all(|loss| loss.is_finite()) {
            true => optimizer.step(self.parameters.of_parts(parts), &share.gradients, stage)?,
            false => f64::NAN,
        };
        let seconds = began.elapsed().as_secs_f64();
        Ok(StepReport {
            stage: self.position.stage,
            name: stage.name.clone(),
            step: step + 1,
            n_steps: stage.steps,
            losses,
            gradient_norm: norm,
            learning_rate: stage.rate(step),
            samples_per_s: stage.batch as f64 / seconds,
            seconds: self.position.seconds + seconds,
            bad_rows: task.source().bad_row_counts(),
        })
    }

    /// Draws the losses so far, and samples of what the averaged weights have learnt.
    fn show(&self, task: &dyn Task, optimizer: &Optimizer) -> Result<(), TrainError> {
        let Position { stage, step, .. } = self.position;
        self.journal.picture("losses.png", &curves::draw(&self.journal.steps()?))?;
        match averaged(&self.parameters, optimizer, || task.sheet(step - 1))? {
            Some(sheet) => self.journal.picture(&format!("samples-{stage}-{step:06}.png"), &sheet),
            None => Ok(()),
        }
    }

    /// Takes the averaged weights, writes the model and the state between two stages.
    fn finish(&mut self, stage: &Stage, optimizer: &Optimizer) -> Result<(), TrainError> {
        let path = self.options.folder.join(STATE);
        if !path.exists() {
            // A run that ends between its model and its state would find a folder that it cannot know as its own.
            state::save(&path, &self.position, &self.parameters, optimizer)?;
        }
        adopt(&self.parameters, optimizer)?;
        if stage.autoencoder.as_ref().is_some_and(|settings| !settings.decoder_only) {
            self.position.config.vae.scale = AutoencoderTask::measure_scale(
                self.recipe,
                self.position.stage,
                &self.parameters,
                &self.position.config,
            )?;
        }
        let (folder, fresh) = (self.options.folder.join(MODEL), self.options.folder.join(UNFINISHED));
        remove(&fresh)?;
        export(&self.parameters, &self.position.config, &self.tokenizer, &fresh, StoredDtype::F32)?;
        remove(&folder)?;
        std::fs::rename(&fresh, &folder).map_err(TrainError::io(&folder))?;
        self.position.stage += 1;
        self.position.step = 0;
        state::save(&path, &self.position, &self.parameters, &Optimizer::default())
    }
}

/// What a run's state belongs to: the recipe's text, and the content of the files of rows that it names.
fn fingerprint(recipe: &Recipe, text: &str) -> Result<String, TrainError> {
    let mut hasher = Sha256::new_with_prefix(text);
    for (stage, path) in recipe.stages.iter().filter_map(|stage| Some((stage, stage.rows.as_ref()?))) {
        let read = std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hasher));
        read.map_err(|error| data::unreadable(stage, path, &error))?;
    }
    Ok(format!("{:x}", hasher.finalize()))
}

/// Lists the source's bad rows where there are more than `known`, and says how many there are.
fn list_bad_rows(journal: &Journal, source: &Source, known: usize) -> Result<usize, TrainError> {
    let bad = source.bad_rows();
    if bad.len() > known {
        journal.bad_rows(&bad)?;
    }
    Ok(bad.len())
}

/// Removes a folder, if there is one.
fn remove(folder: &Path) -> Result<(), TrainError> {
    match folder.exists() {
        true => std::fs::remove_dir_all(folder).map_err(TrainError::io(folder)),
        false => Ok(()),
    }
}

fn task<'a>(
    recipe: &'a Recipe,
    number: usize,
    parameters: &'a Parameters,
    config: &'a ModelConfig,
    tokenizer: &str,
) -> Result<Box<dyn Task + 'a>, TrainError> {
    let stage = &recipe.stages[number];
    let seed = (recipe.seed, number);
    match (&stage.autoencoder, &stage.joint) {
        (Some(settings), _) => Ok(Box::new(AutoencoderTask::new(stage, settings, seed, parameters, &config.vae)?)),
        (_, Some(settings)) => Ok(Box::new(JointTask::new(stage, settings, seed, parameters, config, tokenizer)?)),
        _ => Err(TrainError::Data(format!("stage `{}` has no task", stage.name))),
    }
}

/// Puts the averages in the weights' place.
fn adopt(parameters: &Parameters, optimizer: &Optimizer) -> Result<(), TrainError> {
    for (name, slot) in optimizer.slots.iter().filter(|(_, slot)| !slot.average.is_empty()) {
        if let Some(var) = parameters.vars().get(name) {
            var.set(
                &candle_core::Tensor::from_slice(&slot.average, var.shape(), &Device::Cpu)?.to_device(var.device())?,
            )?;
        }
    }
    Ok(())
}

/// Runs `look` while the averages stand in the weights' place.
fn averaged<T>(
    parameters: &Parameters,
    optimizer: &Optimizer,
    look: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    let mut kept = Vec::new();
    for name in optimizer.slots.keys() {
        if let Some(var) = parameters.vars().get(name) {
            kept.push((var, var.as_tensor().copy()?.detach()));
        }
    }
    adopt(parameters, optimizer)?;
    let seen = look();
    for (var, tensor) in kept {
        var.set(&tensor)?;
    }
    seen
}

/// Writes the weights as a checkpoint.
fn export(
    parameters: &Parameters,
    config: &ModelConfig,
    tokenizer: &str,
    folder: &Path,
    dtype: StoredDtype,
) -> Result<(), TrainError> {
    let of = |spec: &unipic_weights::manifest::TensorSpec| {
        let missing =
            || WeightsError::Config { path: folder.to_owned(), why: format!("{} was not trained", spec.name) };
        let var = parameters.vars().get(&spec.name).ok_or_else(missing)?;
        Ok(var.as_tensor().detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    };
    unipic_weights::save(config, tokenizer, folder, dtype, of, &mut |_| {})?;
    Ok(())
}
