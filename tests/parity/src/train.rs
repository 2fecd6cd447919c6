//! `train_*`: the three training losses and the gradients they give, replayed with the recorded draws.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use candle_nn::VarBuilder;
use serde::Deserialize;
use unipic_models::mar::ImageGrid;
use unipic_nn::{Build, Ops};
use unipic_trainer::loss::{self, AroundImage, Draws, Edit, Generation, Images, Understanding};
use unipic_trainer::model::TrainModel;
use unipic_weights::{Part, manifest};

use crate::bound::{GRADIENT, PART};
use crate::case::{Case, NoSettings};
use crate::subject::Subject;

/// How labels say that a position's token is not predicted.
const IGNORED: i64 = -100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerateSettings {
    batch_mul: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditSettings {
    batch_mul: usize,
    grad_scale: f64,
}

/// Checks the generation loss.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check_generate(subject: &Subject, case: &mut Case) -> Result<()> {
    let settings: GenerateSettings = case.settings()?;
    let (latents, grid) = take_latents(case, "latents")?;
    let (prompts, draws) = (take_sequences(case)?, take_draws(case, settings.batch_mul)?);
    let trainable = Trainable::load(subject)?;
    let batch = Generation { grid, latents: &latents, prompts: &prompts };
    trainable.check(case, &loss::generate(&trainable.model, &batch, &draws)?.loss)
}

/// Checks the editing loss.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check_edit(subject: &Subject, case: &mut Case) -> Result<()> {
    let settings: EditSettings = case.settings()?;
    let passed = settings.grad_scale;
    ensure!(passed == loss::INPUT_GRADIENT, "of a source's gradient {passed} passes, not {}", loss::INPUT_GRADIENT);
    let ((latents, grid), (sources, _)) = (take_latents(case, "latents")?, take_latents(case, "latents_source")?);
    let (prompts, draws) = (take_sequences(case)?, take_draws(case, settings.batch_mul)?);
    let prompts = prompts.iter().map(|ids| around_image(subject, ids)).collect::<Result<Vec<_>>>()?;
    let trainable = Trainable::load(subject)?;
    let batch =
        Edit { grid, latents: &latents, sources: &sources, prompts: &prompts, input_gradient: loss::INPUT_GRADIENT };
    trainable.check(case, &loss::edit(&trainable.model, &batch, &draws)?.loss)
}

/// Checks the understanding loss.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check_understand(subject: &Subject, case: &mut Case) -> Result<()> {
    case.settings::<NoSettings>()?;
    let (pixels, labels) = (case.take("pixels")?, case.take("labels")?.to_vec2::<i64>()?);
    let (mut prompts, mut answers) = (Vec::new(), Vec::new());
    for (mut ids, labels) in take_sequences(case)?.into_iter().zip(labels) {
        let labelled = |at: &usize| labels[*at] != IGNORED;
        let answer = ids.split_off((0..ids.len()).find(labelled).context("nothing is labelled")?);
        let expected: Vec<i64> = answer.iter().copied().map(i64::from).collect();
        ensure!(labels[ids.len()..][..answer.len()] == expected, "labels are not the sequence's last tokens");
        ensure!(labels.iter().filter(|label| **label != IGNORED).count() == answer.len(), "labels behind the sequence");
        prompts.push(around_image(subject, &ids)?);
        answers.push(answer);
    }
    let trainable = Trainable::load(subject)?;
    let batch = Understanding { images: Images::Siglip(&pixels), prompts: &prompts, answers: &answers, earlier: &[] };
    trainable.check(case, &loss::understand(&trainable.model, &batch)?.loss)
}

/// The model over variables.
struct Trainable {
    vars: BTreeMap<String, Var>,
    model: TrainModel,
}

impl Trainable {
    fn load(subject: &Subject) -> Result<Self> {
        let (config, tensors) = (&subject.config, subject.tensors.var_builder());
        let parts: Vec<Part> = Part::ALL.into_iter().filter(|part| *part != Part::Vae).collect();
        let var = |spec: manifest::TensorSpec| {
            let tensor = tensors.get(spec.shape.as_slice(), &spec.name)?;
            Ok((spec.name, Var::from_tensor(&tensor)?))
        };
        let vars: BTreeMap<_, _> = manifest::tensors(config, &parts).into_iter().map(var).collect::<Result<_>>()?;
        let tensors: HashMap<_, _> = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        // Serving's operations have no gradients; the ones they share their kernels with do.
        let ops = if subject.ops.is_differentiable() { subject.ops } else { Ops::Training };
        let build = Build::new(VarBuilder::from_tensors(tensors, DType::F32, &subject.device), ops);
        Ok(Self { model: TrainModel::load(&build, config)?, vars })
    }

    /// Compares the loss and all gradients. A variable that the case does not list must not have any.
    fn check(&self, case: &mut Case, loss: &Tensor) -> Result<()> {
        case.check_packed("loss", loss, PART)?;
        let gradients = loss.backward()?;
        let mut unexpected = Vec::new();
        for name in self.vars.keys() {
            let gradient = self.gradient(&gradients, name)?;
            let norm = gradient.as_ref().map(norm).transpose()?;
            let (listed, whole) = (format!("grad_norm.{name}"), format!("grad.{name}"));
            match (case.has(&listed), norm, gradient) {
                (true, Some(norm), Some(gradient)) => {
                    case.check_packed(&listed, &norm, GRADIENT)?;
                    if case.has(&whole) {
                        case.check(&whole, &gradient, GRADIENT)?;
                    }
                }
                (true, ..) => case.fail(&listed, "no gradient arrives here"),
                (false, Some(norm), _) if norm.to_scalar::<f64>()? != 0.0 => unexpected.push(name.as_str()),
                (false, ..) => {}
            }
        }
        ensure!(unexpected.is_empty(), "gradients where there should be none: {unexpected:?}");
        Ok(())
    }

    fn gradient(&self, gradients: &GradStore, name: &str) -> Result<Option<Tensor>> {
        let var = self.vars.get(name).with_context(|| format!("no variable {name}"))?;
        Ok(gradients.get(var.as_tensor()).cloned())
    }
}

/// The Euclidean norm, f64.
fn norm(gradient: &Tensor) -> Result<Tensor> {
    Ok(gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()?)
}

/// Latents `[B, m, n, 16]` as `[B, N, 16]`, and their grid.
fn take_latents(case: &mut Case, name: &str) -> Result<(Tensor, ImageGrid)> {
    let latents = case.take(name)?;
    let (b, rows, cols, channels) = latents.dims4()?;
    Ok((latents.reshape((b, rows * cols, channels))?, ImageGrid { rows, cols }))
}

/// The ids of every sequence without its padding, which is on the right.
fn take_sequences(case: &mut Case) -> Result<Vec<Vec<u32>>> {
    let (mut rows, mask) = (case.take_ids("input_ids")?, case.take_ids("attention_mask")?);
    for (ids, mask) in rows.iter_mut().zip(&mask) {
        ensure!(mask.is_sorted_by(|a, b| a >= b), "padding that is not on the right");
        ids.truncate(mask.iter().filter(|seen| **seen != 0).count());
    }
    Ok(rows)
}

/// The recorded draws, `n_repeats` of each place.
fn take_draws(case: &mut Case, n_repeats: usize) -> Result<Draws> {
    let values = |case: &mut Case, name| -> Result<Vec<f32>> { Ok(case.take(name)?.flatten_all()?.to_vec1()?) };
    let draws = Draws {
        masked: values(case, "mask")?.into_iter().map(|masked| masked != 0.0).collect(),
        timesteps: case.take("t")?.to_vec1::<i64>()?.into_iter().map(usize::try_from).collect::<Result<_, _>>()?,
        noise: values(case, "noise")?,
    };
    ensure!(draws.n_repeats(draws.masked.len())? == n_repeats, "timesteps of other than {n_repeats} repetitions");
    Ok(draws)
}

/// A sequence in which an image stands as a run of image tokens.
fn around_image(subject: &Subject, ids: &[u32]) -> Result<AroundImage> {
    let is_image = |id: &u32| *id == subject.tokenizer.image_id();
    let first = ids.iter().position(is_image).context("a prompt without its image")?;
    let n_rows = ids[first..].iter().take_while(|id| is_image(id)).count();
    let (before, after) = (ids[..first].to_vec(), ids[first + n_rows..].to_vec());
    ensure!(!after.iter().any(is_image), "a prompt of several images");
    Ok(AroundImage { before, after, named: Vec::new() })
}
