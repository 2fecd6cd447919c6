//! Samples of the three tasks as tensors and ids.
//!
//! A sample's slot is its number among all of its task in the stage. Everything follows from it: which picture, which
//! places are masked, which noise. Latents are kept for as long as their picture may come up again; after a restart they are
//! simply encoded once more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use unipic_imaging::Rgb8;
use unipic_models::generation::ImageGrid;
use unipic_models::mar::LATENT_CHANNELS;
use unipic_models::prompt::{
    Piece, Prompt, PromptTokenizer, Segment, edit, edit_unconditional, generate, generate_unconditional, understand,
};
use unipic_models::vae;
use unipic_nn::Ops;
use unipic_weights::config::ModelConfig;
use unipic_world::{Draws as World, GenerationSample, Sampler, Scene, Split};

use super::Kind;
use crate::TrainError;
use crate::draws::{Purpose, draws, normal};
use crate::loss::{AroundImage, Draws};
use crate::parameters::Parameters;
use crate::pixels::pixels;
use crate::recipe::{Encoder, Joint, Stage};

/// Pictures that are used again together.
const BLOCK: u64 = 1024;

/// What an answer ends with.
const END_OF_ANSWER: &str = "<|im_end|>";

/// What a picture is to its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Shown {
    Generated,
    Edited,
    Source,
}

/// Images with their prompts and random choices.
pub(super) struct Batch {
    /// `[B, N, 16]`.
    pub(super) latents: Tensor,
    pub(super) prompts: Vec<Vec<u32>>,
    pub(super) draws: Draws,
}

/// Edits: what [`Batch`] has, with sources `[B, N, 16]`.
pub(super) struct EditBatch {
    pub(super) latents: Tensor,
    pub(super) sources: Tensor,
    pub(super) prompts: Vec<AroundImage>,
    pub(super) draws: Draws,
}

/// Questions and their answers.
pub(super) struct QuestionBatch {
    /// RGB `[B, 3, S, S]` for SigLIP2, latents `[B, N, 16]` for MAR.
    pub(super) images: Tensor,
    pub(super) prompts: Vec<AroundImage>,
    pub(super) answers: Vec<Vec<u32>>,
}

/// Where samples come from.
pub(super) struct Feed<'a> {
    pub(super) stage: &'a Stage,
    pub(super) settings: &'a Joint,
    seed: (u64, usize),
    pub(super) sampler: Sampler,
    pub(super) tokenizer: PromptTokenizer,
    encoder: vae::Encoder,
    grid: ImageGrid,
    /// Latents of the pictures of a block, by picture.
    latents: Mutex<HashMap<(Shown, u64), Vec<f32>>>,
    /// Stands for an image where prompts are taken apart.
    image_place: Tensor,
    /// Side of the understanding encoder's images, in pixels.
    vision_side: usize,
    device: Device,
}

impl<'a> Feed<'a> {
    pub(super) fn new(
        (stage, settings): (&'a Stage, &'a Joint),
        seed: (u64, usize),
        parameters: &Parameters,
        config: &ModelConfig,
        tokenizer: PromptTokenizer,
        grid: ImageGrid,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            stage,
            settings,
            seed,
            sampler: Sampler::new(seed.0 ^ (seed.1 as u64) << 32, stage.shapes.clone(), Split::Train),
            tokenizer,
            encoder: vae::Encoder::load(&parameters.build(Ops::Inference, &[]), &config.vae)?,
            grid,
            latents: Mutex::default(),
            image_place: Tensor::zeros((1, 1), DType::F32, &Device::Cpu)?,
            vision_side: config.siglip.image_size,
            device: parameters.device().clone(),
        })
    }

    pub(super) fn grid(&self) -> ImageGrid {
        self.grid
    }

    /// The batch of a generation task.
    pub(super) fn generation(&self, slots: &[u64]) -> Result<Batch, TrainError> {
        let mut latents = Vec::new();
        let mut prompts = Vec::new();
        for &slot in slots {
            let index = self.picture(slot);
            let sample = self.sample(index);
            latents.extend(self.latents((Shown::Generated, index), &sample.scene)?);
            let mut dropped = draws(self.seed.0, self.seed.1, Purpose::Unconditional, slot);
            let prompt = match dropped.chance(self.settings.unconditional as f32) {
                true => generate_unconditional(None),
                false => generate(&sample.prompt),
            };
            prompts.push(self.ids(&prompt)?);
        }
        let latents = self.latent_tensor(latents, slots.len())?;
        Ok(Batch { latents, prompts, draws: self.choices(Kind::Generation, slots) })
    }

    /// The batch of an editing task.
    pub(super) fn editing(&self, slots: &[u64]) -> Result<EditBatch, TrainError> {
        let (mut latents, mut sources, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        for &slot in slots {
            let index = self.picture(slot);
            let sample = self.sampler.edit(index);
            latents.extend(self.latents((Shown::Edited, index), &sample.after)?);
            sources.extend(self.latents((Shown::Source, index), &sample.before)?);
            let mut dropped = draws(self.seed.0, self.seed.1 | 0x80, Purpose::Unconditional, slot);
            prompts.push(self.around(match dropped.chance(self.settings.unconditional as f32) {
                true => edit_unconditional(&self.image_place, None),
                false => edit(&self.image_place, &sample.instruction),
            })?);
        }
        let (latents, sources) = (self.latent_tensor(latents, slots.len())?, self.latent_tensor(sources, slots.len())?);
        Ok(EditBatch { latents, sources, prompts, draws: self.choices(Kind::Editing, slots) })
    }

    /// The batch of an understanding task: every third sample is a description, the others are questions.
    pub(super) fn understanding(&self, slots: &[u64]) -> Result<QuestionBatch, TrainError> {
        let (mut scenes, mut prompts, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for &slot in slots {
            let (scene, question, answer) = self.asked(slot);
            prompts.push(self.around(understand(&self.image_place, &question))?);
            let end = Segment::Template(END_OF_ANSWER.into());
            answers.push(self.ids(&Prompt { segments: vec![Segment::User(answer), end] })?);
            scenes.push(scene);
        }
        let images = match self.settings.encoder {
            Encoder::Siglip2 => {
                let pictures: Vec<Rgb8> = scenes.iter().map(|scene| scene.draw(self.vision_side)).collect();
                pixels(&pictures, &self.device)?
            }
            Encoder::Mar => {
                let latents = scenes.iter().map(|scene| self.encode(scene)).collect::<Result<Vec<_>, _>>()?;
                self.latent_tensor(latents.concat(), slots.len())?
            }
        };
        Ok(QuestionBatch { images, prompts, answers })
    }

    /// A picture, what is asked about it, and the answer.
    fn asked(&self, slot: u64) -> (Scene, String, String) {
        if slot % 3 == 2 {
            let sample = self.sampler.caption(slot);
            return (sample.scene, sample.question, sample.caption);
        }
        let sample = self.sampler.question(slot);
        (sample.scene, sample.question, sample.answer)
    }

    fn latent_tensor(&self, values: Vec<f32>, n_images: usize) -> Result<Tensor, TrainError> {
        let shape = (n_images, self.grid.n_places(), LATENT_CHANNELS);
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(&self.device)?)
    }

    /// The sample of a picture's number.
    fn sample(&self, index: u64) -> GenerationSample {
        match self.stage.wrong_share > 0.0 {
            true => self.sampler.corrupted(index, self.stage.wrong_share as f32).sample,
            false => self.sampler.generation(index),
        }
    }

    /// Which picture a slot shows: blocks of pictures are gone through several times, each time in another order.
    fn picture(&self, slot: u64) -> u64 {
        let reuse = self.settings.reuse as u64;
        let (block, rest) = (slot / (BLOCK * reuse), slot % (BLOCK * reuse));
        let (pass, place) = (rest / BLOCK, rest % BLOCK);
        let mut draws = draws(self.seed.0, self.seed.1, Purpose::Shuffle, block * reuse + pass);
        // An odd factor modulo a power of two takes every place once.
        let (factor, offset) = (draws.bits() | 1, draws.bits());
        block * BLOCK + place.wrapping_mul(factor).wrapping_add(offset) % BLOCK
    }

    /// Latents of a scene `[N·16]`; `key` is what it is and its number, and it is kept while its block lasts.
    fn latents(&self, key: (Shown, u64), scene: &Scene) -> Result<Vec<f32>, TrainError> {
        if self.settings.reuse == 1 {
            return self.encode(scene);
        }
        let lock = || self.latents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latents) = lock().get(&key) {
            return Ok(latents.clone());
        }
        let latents = self.encode(scene)?;
        let mut kept = lock();
        if kept.len() > 6 * BLOCK as usize {
            kept.retain(|(shown, index), _| *shown != key.0 || index / BLOCK == key.1 / BLOCK);
        }
        kept.insert(key, latents.clone());
        Ok(latents)
    }

    pub(super) fn encode(&self, scene: &Scene) -> Result<Vec<f32>, TrainError> {
        let picture = scene.draw(self.settings.resolution);
        Ok(self.encoder.encode(&pixels(&[picture], &self.device)?)?.flatten_all()?.to_vec1()?)
    }

    /// Masks, timesteps and noise. The share of masked places is one for all images, as published.
    fn choices(&self, kind: Kind, slots: &[u64]) -> Draws {
        let n_places = self.grid.n_places();
        let stream = self.seed.1 | (kind as usize) << 16;
        let mut first = draws(self.seed.0, stream, Purpose::Mask, slots.first().copied().unwrap_or(0));
        let n_masked = n_masked(&mut first, n_places);
        let mut masked = Vec::with_capacity(slots.len() * n_places);
        for &slot in slots {
            let mut draws = draws(self.seed.0, stream | 0x80, Purpose::Mask, slot);
            let mut order: Vec<usize> = (0..n_places).collect();
            (1..n_places).rev().for_each(|last| order.swap(last, draws.below(last + 1)));
            let mut mask = vec![false; n_places];
            order[..n_masked].iter().for_each(|&place| mask[place] = true);
            masked.extend(mask);
        }
        let (mut timesteps, mut noise) = (Vec::new(), Vec::new());
        for repeat in 0..self.settings.head_draws {
            for &slot in slots {
                let mut draws = draws(self.seed.0, stream | repeat << 24, Purpose::Head, slot);
                timesteps.extend((0..n_places).map(|_| draws.below(1000)));
                noise.extend((0..n_places * LATENT_CHANNELS).map(|_| normal(&mut draws)));
            }
        }
        Draws { masked, timesteps, noise }
    }

    /// Ids of a prompt that is text alone.
    pub(super) fn ids(&self, prompt: &Prompt) -> Result<Vec<u32>, TrainError> {
        let mut ids = Vec::new();
        for piece in self.tokenizer.tokenize(prompt)? {
            match piece {
                Piece::Ids(piece) => ids.extend(piece),
                Piece::Embeddings(_) => return Err(TrainError::Data("a prompt of text holds embeddings".into())),
            }
        }
        Ok(ids)
    }

    /// Ids of a prompt around its one image.
    fn around(&self, prompt: Prompt) -> Result<AroundImage, TrainError> {
        let mut around = AroundImage::default();
        let mut seen = false;
        for piece in self.tokenizer.tokenize(&prompt)? {
            match piece {
                Piece::Embeddings(_) => seen = true,
                Piece::Ids(ids) if seen => around.after.extend(ids),
                Piece::Ids(ids) => around.before.extend(ids),
            }
        }
        Ok(around)
    }

    /// What the samples of a task are, for a report.
    pub(super) fn describe(&self, kind: Kind, slots: impl Iterator<Item = u64>) -> serde_json::Value {
        let sample = |slot: u64| match kind {
            Kind::Generation => serde_json::json!({ "slot": slot, "prompt": self.sample(self.picture(slot)).prompt }),
            Kind::Editing => serde_json::json!({ "slot": slot, "instruction": self.sampler.edit(self.picture(slot)).instruction }),
            Kind::Understanding => {
                serde_json::json!({ "slot": slot, "question": self.asked(slot).1 })
            }
        };
        slots.map(sample).collect()
    }
}

/// ⌈N·r⌉ with r from a Gaussian of mean 1 and deviation 0.25, cut to [0.7, 1] (model page, section 10).
fn n_masked(draws: &mut World, n_places: usize) -> usize {
    loop {
        let r = 1.0 + 0.25 * f64::from(normal(draws));
        if (0.7..=1.0).contains(&r) {
            return ((n_places as f64 * r).ceil() as usize).clamp(1, n_places);
        }
    }
}
