//! Samples of the three tasks as tensors and ids.
//!
//! A sample's slot is its number among all of its task in the stage. Everything follows from it: which picture, which
//! places are masked, which noise. Latents are kept for as long as their picture may come up again; after a restart they are
//! simply encoded once more.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use unipic_imaging::Rgb8;
use unipic_models::generation::ImageGrid;
use unipic_models::mar::LATENT_CHANNELS;
use unipic_models::prompt::{
    Content, Piece, Prompt, PromptTokenizer, Role, Segment, Turn, conversation, edit, edit_unconditional, generate,
    generate_unconditional,
};
use unipic_models::vae;
use unipic_nn::Ops;
use unipic_weights::config::ModelConfig;
use unipic_world::{Cell, Draws as World, Mention, Scene};

use crate::TrainError;
use crate::data::{BLOCK, Kind, Source};
use crate::draws::{Purpose, draws, normal};
use crate::loss::{AroundImage, Draws};
use crate::parameters::Parameters;
use crate::pixels::pixels;
use crate::recipe::{Encoder, Joint, Stage};

use super::names::Names;

/// Samples that are kept encoded at most: two blocks of each of two tasks.
const KEPT: u64 = 4 * BLOCK;

/// What an answer ends with.
const END_OF_ANSWER: &str = "<|im_end|>";

/// Images with their prompts and random choices.
pub(super) struct Batch {
    /// `[B, N, 16]`.
    pub(super) latents: Tensor,
    pub(super) prompts: Vec<Vec<u32>>,
    pub(super) draws: Draws,
    /// What the images show, place by place, `[B·N]`; nothing for images that were not drawn by the shapes world.
    pub(super) cells: Vec<Cell>,
}

/// Edits: what [`Batch`] has, with sources `[B, N, 16]`.
pub(super) struct EditBatch {
    pub(super) latents: Tensor,
    pub(super) sources: Tensor,
    pub(super) prompts: Vec<AroundImage>,
    pub(super) draws: Draws,
    /// What the edited images show, as in [`Batch`].
    pub(super) cells: Vec<Cell>,
    /// What the sources show.
    pub(super) source_cells: Vec<Cell>,
    /// What the sources show of what the prompts name, prompt after prompt.
    pub(super) mentions: Vec<Mention>,
}

/// Questions and their answers.
pub(super) struct QuestionBatch {
    /// RGB `[B, 3, S, S]` for SigLIP2, latents `[B, N, 16]` for MAR.
    pub(super) images: Tensor,
    pub(super) prompts: Vec<AroundImage>,
    pub(super) answers: Vec<Vec<u32>>,
    /// Answers within the prompts.
    pub(super) earlier: Vec<Vec<Range<usize>>>,
    /// What the images show, as in [`Batch`], by the encoder's grid.
    pub(super) cells: Vec<Cell>,
    /// What they show of what the prompts name, prompt after prompt.
    pub(super) mentions: Vec<Mention>,
}

/// A sample of generation or editing whose pictures are latents `[N·16]`.
struct Encoded {
    target: Vec<f32>,
    /// An edit's.
    source: Vec<f32>,
    /// The prompt, or the instruction.
    words: String,
    /// What the target shows, `[N]`.
    cells: Vec<Cell>,
    /// What an edit's source was drawn from.
    source_scene: Option<Scene>,
}

/// Encoded samples, by task and number.
type Kept = HashMap<(Kind, u64), Arc<Encoded>>;

/// A source's samples on their way to the model.
pub(super) struct Feed<'a> {
    settings: &'a Joint,
    seed: (u64, usize),
    source: Source,
    tokenizer: PromptTokenizer,
    /// Finds what prompts name, where a readout learns from it.
    names: Option<Names>,
    encoder: vae::Encoder,
    grid: ImageGrid,
    /// What will be asked for again, by task and position; none where nothing will.
    kept: Option<Mutex<Kept>>,
    /// Stands for an image where prompts are taken apart.
    image_place: Tensor,
    /// Side of the understanding encoder's images, in pixels.
    vision_side: usize,
    /// Patches along it.
    vision_patches: usize,
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
        let source = Source::open(stage, seed)?;
        Ok(Self {
            settings,
            seed,
            kept: source.is_repeated(KEPT).then(Mutex::default),
            source,
            names: (settings.readout.unwrap_or_default().named > 0.0).then(|| Names::new(&tokenizer)).transpose()?,
            tokenizer,
            encoder: vae::Encoder::load(&parameters.build(Ops::Inference, &[]), &config.vae)?,
            grid,
            image_place: Tensor::zeros((1, 1), DType::F32, &Device::Cpu)?,
            vision_side: config.siglip.image_size,
            vision_patches: config.siglip.image_size / config.siglip.patch_size,
            device: parameters.device().clone(),
        })
    }

    pub(super) fn grid(&self) -> ImageGrid {
        self.grid
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The batch of a generation task.
    pub(super) fn generation(&self, slots: &[u64]) -> Result<Batch, TrainError> {
        let (mut latents, mut prompts, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        for &slot in slots {
            let sample = self.encoded(Kind::Generation, slot)?;
            latents.extend(&sample.target);
            cells.extend(&sample.cells);
            let mut dropped = draws(self.seed, (Purpose::Unconditional, Kind::Generation as u16), slot);
            let prompt = match dropped.chance(self.settings.unconditional as f32) {
                true => generate_unconditional(None),
                false => generate(&sample.words),
            };
            prompts.push(self.ids(&prompt)?);
        }
        let latents = self.latent_tensor(latents, slots.len())?;
        Ok(Batch { latents, prompts, draws: self.choices(Kind::Generation, slots), cells })
    }

    /// The batch of an editing task.
    pub(super) fn editing(&self, slots: &[u64]) -> Result<EditBatch, TrainError> {
        let (mut latents, mut sources, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cells, mut source_cells, mut mentions) = (Vec::new(), Vec::new(), Vec::new());
        for &slot in slots {
            let sample = self.encoded(Kind::Editing, slot)?;
            latents.extend(&sample.target);
            sources.extend(&sample.source);
            cells.extend(&sample.cells);
            source_cells.extend(cells_of(sample.source_scene.as_ref(), self.grid.rows));
            let mut dropped = draws(self.seed, (Purpose::Unconditional, Kind::Editing as u16), slot);
            let mut prompt = self.around(match dropped.chance(self.settings.unconditional as f32) {
                true => edit_unconditional(&self.image_place, None),
                false => edit(&self.image_place, &sample.words),
            })?;
            mentions.extend(self.mentions(&mut prompt, sample.source_scene.as_ref()));
            prompts.push(prompt);
        }
        let (latents, sources) = (self.latent_tensor(latents, slots.len())?, self.latent_tensor(sources, slots.len())?);
        let draws = self.choices(Kind::Editing, slots);
        Ok(EditBatch { latents, sources, prompts, draws, cells, source_cells, mentions })
    }

    /// The batch of an understanding task.
    pub(super) fn understanding(&self, slots: &[u64]) -> Result<QuestionBatch, TrainError> {
        let (mut pictures, mut prompts, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cells, mut mentions) = (Vec::new(), Vec::new());
        let (beginning, end) = self.answer_marks()?;
        let (side, n_cells) = match self.settings.encoder {
            Encoder::Siglip2 => (self.vision_side, self.vision_patches),
            Encoder::Mar => (self.settings.resolution, self.grid.rows),
        };
        for &slot in slots {
            let position = self.source.position(Kind::Understanding, slot);
            let sample = self.source.understanding(position, side)?;
            let mut prompt = self.around(asked(&self.image_place, &sample.said))?;
            mentions.extend(self.mentions(&mut prompt, sample.scene.as_ref()));
            prompts.push(prompt);
            let mut answer = self.ids(&Prompt { segments: vec![Segment::User(sample.answer)] })?;
            answer.push(end);
            answers.push(answer);
            pictures.push(sample.picture);
            cells.extend(cells_of(sample.scene.as_ref(), n_cells));
        }
        let images = match self.settings.encoder {
            Encoder::Siglip2 => pixels(&pictures, &self.device)?,
            Encoder::Mar => {
                let latents =
                    pictures.into_iter().map(|picture| self.encode(picture)).collect::<Result<Vec<_>, _>>()?;
                self.latent_tensor(latents.concat(), slots.len())?
            }
        };
        let earlier = prompts.iter().map(|prompt| answered(&prompt.after, &beginning, end)).collect();
        Ok(QuestionBatch { images, prompts, answers, earlier, cells, mentions })
    }

    /// Marks the words of a prompt that name something, and tells what the image shows of each; nothing where no readout
    /// learns from it.
    fn mentions(&self, prompt: &mut AroundImage, scene: Option<&Scene>) -> Vec<Mention> {
        self.names.as_ref().map(|names| names.find(prompt, scene)).unwrap_or_default()
    }

    /// The ids that an answer begins behind, and the one that ends it.
    fn answer_marks(&self) -> Result<(Vec<u32>, u32), TrainError> {
        let beginning = self.ids(&conversation(&[]))?;
        match self.ids(&Prompt { segments: vec![Segment::Template(END_OF_ANSWER.into())] })?.as_slice() {
            [end] => Ok((beginning, *end)),
            ids => Err(TrainError::Data(format!("the tokenizer makes {ids:?} of `{END_OF_ANSWER}`, not one token"))),
        }
    }

    fn latent_tensor(&self, values: Vec<f32>, n_images: usize) -> Result<Tensor, TrainError> {
        let shape = (n_images, self.grid.n_places(), LATENT_CHANNELS);
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(&self.device)?)
    }

    /// The sample of a slot of generation or editing.
    fn encoded(&self, kind: Kind, slot: u64) -> Result<Arc<Encoded>, TrainError> {
        let position = self.source.position(kind, slot);
        let Some(kept) = &self.kept else { return self.encode_anew(kind, position) };
        let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoded) = lock().get(&(kind, position)) {
            return Ok(encoded.clone());
        }
        let encoded = self.encode_anew(kind, position)?;
        let mut kept = lock();
        if kept.len() as u64 > KEPT {
            kept.retain(|(other, at), _| *other != kind || at / BLOCK == position / BLOCK);
        }
        kept.insert((kind, position), encoded.clone());
        Ok(encoded)
    }

    fn encode_anew(&self, kind: Kind, position: u64) -> Result<Arc<Encoded>, TrainError> {
        let side = self.settings.resolution;
        Ok(Arc::new(match kind {
            Kind::Editing => {
                let sample = self.source.editing(position, side)?;
                let (target, source) = (self.encode(sample.target)?, self.encode(sample.source)?);
                let (before, after) = sample.scenes.unzip();
                Encoded {
                    target,
                    source,
                    words: sample.instruction,
                    cells: cells_of(after.as_ref(), self.grid.rows),
                    source_scene: before,
                }
            }
            Kind::Generation | Kind::Understanding => {
                let sample = self.source.generation(position, side)?;
                Encoded {
                    target: self.encode(sample.picture)?,
                    source: Vec::new(),
                    words: sample.words,
                    cells: cells_of(sample.scene.as_ref(), self.grid.rows),
                    source_scene: None,
                }
            }
        }))
    }

    fn encode(&self, picture: Rgb8) -> Result<Vec<f32>, TrainError> {
        Ok(self.encoder.encode(&pixels(&[picture], &self.device)?)?.flatten_all()?.to_vec1()?)
    }

    /// Masks, timesteps and noise. The share of masked places is one for all images, as published.
    fn choices(&self, kind: Kind, slots: &[u64]) -> Draws {
        let n_places = self.grid.n_places();
        let task = kind as u16;
        let mut first = draws(self.seed, (Purpose::MaskShare, task), slots.first().copied().unwrap_or(0));
        let n_masked = n_masked(&mut first, n_places, self.settings.mask_deviation);
        let mut masked = Vec::with_capacity(slots.len() * n_places);
        for &slot in slots {
            let mut draws = draws(self.seed, (Purpose::Mask, task), slot);
            let mut order: Vec<usize> = (0..n_places).collect();
            (1..n_places).rev().for_each(|last| order.swap(last, draws.below(last + 1)));
            let mut mask = vec![false; n_places];
            order[..n_masked].iter().for_each(|&place| mask[place] = true);
            masked.extend(mask);
        }
        let (mut timesteps, mut noise) = (Vec::new(), Vec::new());
        for repeat in 0..self.settings.head_draws as u16 {
            for &slot in slots {
                let mut draws = draws(self.seed, (Purpose::Head, task << 8 | repeat), slot);
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
        let side = self.settings.resolution;
        let sample = |slot: u64| {
            let position = self.source.position(kind, slot);
            let said = match kind {
                Kind::Generation => self.source.generation(position, side).map(|s| (s.line, "prompt", s.words)),
                Kind::Editing => self.source.editing(position, side).map(|s| (s.line, "instruction", s.instruction)),
                Kind::Understanding => self.source.understanding(position, side).map(|s| {
                    let question = s.said.into_iter().next_back().map(|(_, text)| text);
                    (s.line, "question", question.unwrap_or_default())
                }),
            };
            match said {
                Ok((line, what, text)) => serde_json::json!({ "slot": slot, "line": line, what: text }),
                Err(error) => serde_json::json!({ "slot": slot, "error": error.to_string() }),
            }
        };
        slots.map(sample).collect()
    }
}

/// What a picture of the shapes world shows on a grid of `side` × `side`.
fn cells_of(scene: Option<&Scene>, side: usize) -> Vec<Cell> {
    scene.map(|scene| scene.cells(side)).unwrap_or_default()
}

/// Where whole answers stand among the ids of a conversation, their end tokens included. No words of a user can pass for a
/// mark: marks hold special tokens, which words never become.
fn answered(ids: &[u32], beginning: &[u32], end: u32) -> Vec<Range<usize>> {
    let starts = (beginning.len()..ids.len()).filter(|&at| ids[..at].ends_with(beginning));
    let whole = |start: usize| ids[start..].iter().position(|id| *id == end).map(|length| start..start + length + 1);
    starts.filter_map(whole).collect()
}

/// What was said about an image that stands before all words.
fn asked(image: &Tensor, said: &[(Role, String)]) -> Prompt {
    let turn = |(place, (role, text)): (usize, &(Role, String))| {
        let image = (place == 0).then(|| Content::Image(image.clone()));
        Turn { role: *role, content: image.into_iter().chain([Content::Text(text.clone())]).collect() }
    };
    conversation(&said.iter().enumerate().map(turn).collect::<Vec<_>>())
}

/// ⌈N·r⌉ with r from a Gaussian of mean 1, cut to [0.7, 1] (model page, section 10).
fn n_masked(draws: &mut World, n_places: usize, deviation: f64) -> usize {
    loop {
        let r = 1.0 + deviation * f64::from(normal(draws));
        if (0.7..=1.0).contains(&r) {
            return ((n_places as f64 * r).ceil() as usize).clamp(1, n_places);
        }
    }
}
