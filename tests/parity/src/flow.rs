//! What `t2i_*` and `edit_*` have in common: prompts in the language model, the loop of iterations, and the pictures.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use unipic_models::diffusion::{HeadStep, RecordedDraws};
use unipic_models::generation::{
    DecodeInput, Encoded, Generation, GuidanceSchedule, ImageGrid, Iteration, Settings, Source, probe_rows,
};
use unipic_models::prompt::Prompt;
use unipic_models::qwen2::{CacheUse, Run};
use unipic_models::vae::pixels_to_u8;
use unipic_nn::KvCache;

use crate::bound::{Bound, FLOW, PART};
use crate::case::Case;
use crate::llm::{Prefill, ids_of};
use crate::subject::Subject;

/// The published names of guidance schedules.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Schedule {
    Constant,
    Linear,
}

/// Settings that every flow has.
pub(crate) struct FlowSettings {
    pub(crate) grid: ImageGrid,
    pub(crate) n_images: usize,
    pub(crate) num_iter: usize,
    pub(crate) cfg: f64,
    pub(crate) cfg_schedule: Schedule,
    pub(crate) temperature: f64,
}

/// A flow at its start.
pub(crate) struct Flow<'a> {
    subject: &'a Subject,
    generation: Generation,
    /// One per guidance branch; its images share it.
    prompts: Vec<KvCache>,
}

impl<'a> Flow<'a> {
    /// Checks the ids of the prompts, conditional and unconditional, and runs them.
    ///
    /// # Errors
    /// When the case is not understood or the model fails.
    pub(crate) fn start(
        subject: &'a Subject,
        case: &mut Case,
        settings: &FlowSettings,
        prompts: [Prompt; 2],
        source: Option<Source>,
    ) -> Result<Self> {
        let draws = RecordedDraws::from_tensors(case.tensors())?;
        case.take("orders")?;
        let generation = Generation::new(settings.resolve(subject), source, Box::new(draws))?;
        let branches = prompts[..generation.n_branches()].iter();
        let pieces = branches.map(|prompt| subject.tokenizer.tokenize(prompt)).collect::<Result<Vec<_>, _>>()?;
        let ids = pieces.iter().map(|pieces| ids_of(pieces, subject.tokenizer.image_id()));
        let rows: Vec<Vec<u32>> = ids.flat_map(|ids| vec![ids; settings.n_images]).collect();
        let expected = unpadded(case.take_ids("input_ids")?, case.take_ids("attention_mask")?)?;
        case.record_ids("input_ids", &rows, &expected);
        let prefill = |pieces: &Vec<_>| Ok(Prefill::run(&subject.llm, pieces)?.cache);
        Ok(Self { subject, generation, prompts: pieces.iter().map(prefill).collect::<Result<_>>()? })
    }

    /// Runs all iterations and checks what is recorded of them, then the tokens and the pictures.
    ///
    /// # Errors
    /// When a quantity is missing or the model fails.
    pub(crate) fn finish(mut self, case: &mut Case) -> Result<()> {
        while let Some(iteration) = self.generation.next() {
            self.iterate(case, &iteration).with_context(|| format!("iteration {}", iteration.index))?;
        }
        let latents = self.generation.latents(&self.subject.device)?;
        case.check("tokens", &latents, FLOW)?;
        let pixels = self.subject.vae_decoder.decode(&latents)?;
        case.check("pixels", &pixels, FLOW)?;
        case.check("image_u8", &bytes(&pixels)?, Bound::OneLevel)
    }

    fn iterate(&mut self, case: &mut Case, iteration: &Iteration) -> Result<()> {
        let (model, generation) = (&self.subject.synthesis, &mut self.generation);
        let encoded = model.encode(&generation.encode_inputs(iteration))?;
        let hidden = probe(self.subject, &self.prompts, &encoded)?;
        let inputs = generation.decode_inputs(iteration, &encoded, &hidden)?;
        check_recorded(self.subject, case, iteration.index, &inputs)?;
        let mut state = generation.head_state(iteration, &model.decode(&inputs)?)?;
        while let Some(head_step) = state.next_step() {
            let noise = generation.head_noise(iteration, head_step)?;
            model.head.step(&mut [HeadStep { state: &mut state, noise: &noise }])?;
        }
        let n_steps = case.take(&format!("noise.{}.steps", iteration.index))?.dim(0)?;
        ensure!(n_steps == generation.settings().head_steps, "{n_steps} head steps were recorded");
        case.take(&format!("noise.{}.init", iteration.index))?;
        generation.reveal(iteration, state.x())?;
        Ok(())
    }
}

impl FlowSettings {
    fn resolve(&self, subject: &Subject) -> Settings {
        Settings {
            grid: self.grid,
            iterations: self.num_iter,
            head_steps: subject.config.mar.num_sampling_steps,
            guidance_scale: self.cfg,
            guidance_schedule: match self.cfg_schedule {
                Schedule::Constant => GuidanceSchedule::Constant,
                Schedule::Linear => GuidanceSchedule::Linear,
            },
            temperature: self.temperature,
            seed: 0,
            first_image: 0,
            n_images: self.n_images,
        }
    }
}

/// The language model over all images and branches at once, behind prompts that stay as they are.
fn probe(subject: &Subject, prompts: &[KvCache], encoded: &[Encoded]) -> Result<Tensor> {
    let rows = probe_rows(encoded, prompts.len())?;
    let n_rows = encoded.iter().map(|image| image.z_enc.dim(0)).collect::<candle_core::Result<Vec<_>>>()?;
    let run = |cache| n_rows.iter().map(move |&n_rows| Run { n_rows, cache: CacheUse::Read(cache) });
    let mut runs: Vec<Run> = prompts.iter().flat_map(run).collect();
    Ok(subject.llm.forward(&rows, &mut runs)?)
}

/// What the case recorded of an iteration. The flow itself computes conditions of the places to reveal only, so all
/// places are decoded here once more.
fn check_recorded(subject: &Subject, case: &mut Case, index: usize, inputs: &[DecodeInput]) -> Result<()> {
    // Later iterations start from sampled tokens, which may be off by a whole flow's bound.
    let bound = if index == 0 { PART } else { FLOW };
    let (x_enc, z) = (format!("iter.{index}.x_enc"), format!("iter.{index}.z"));
    if case.has(&x_enc) {
        case.check_packed(&x_enc, &subject.synthesis.conditioned(inputs)?, bound)?;
    }
    if case.has(&z) {
        let all = |input: &DecodeInput| DecodeInput { reveal: input.grid.places(), ..input.clone() };
        let decoded = subject.synthesis.decode(&inputs.iter().map(all).collect::<Vec<_>>())?;
        let rows: Vec<&Tensor> = decoded.iter().map(|d| &d.z).collect();
        case.check_packed(&z, &Tensor::cat(&rows, 0)?, bound)?;
    }
    Ok(())
}

/// Rows of ids without their padding.
fn unpadded(ids: Vec<Vec<u32>>, mask: Vec<Vec<u32>>) -> Result<Vec<Vec<u32>>> {
    let fits = ids.len() == mask.len() && ids.iter().zip(&mask).all(|(ids, mask)| ids.len() == mask.len());
    ensure!(fits, "attention_mask does not fit input_ids");
    let keep = |(ids, mask): (Vec<u32>, Vec<u32>)| ids.into_iter().zip(mask).filter(|(_, m)| *m != 0).map(|(id, _)| id);
    Ok(ids.into_iter().zip(mask).map(|row| keep(row).collect()).collect())
}

/// `[n, 3, height, width]` in the pixel range → u8 of the same shape, by the conversion that images are sent with.
fn bytes(pixels: &Tensor) -> Result<Tensor> {
    let (n_images, _, height, width) = pixels.dims4()?;
    let image = |i: usize| {
        let rgb = Tensor::from_vec(pixels_to_u8(&pixels.get(i)?)?, (height, width, 3), &Device::Cpu)?;
        rgb.to_dtype(DType::F32)?.permute((2, 0, 1))
    };
    Ok(Tensor::stack(&(0..n_images).map(image).collect::<candle_core::Result<Vec<_>>>()?, 0)?)
}
