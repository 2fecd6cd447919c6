//! Samples of the shapes world, drawn as they are asked for.

use unipic_models::prompt::Role;
use unipic_world::{Category, GenerationSample, Sampler, Split};

use super::{Asked, Described, Edited, Kind};
use crate::draws::{Purpose, draws};
use crate::recipe::Stage;

/// Pictures that are used again together.
pub(crate) const BLOCK: u64 = 1024;

/// Prompts of each category that are drawn for a look.
const SHOWN: usize = 6;

/// The shapes world at a stage's difficulty.
pub(crate) struct Shapes {
    sampler: Sampler,
    held_out: Sampler,
    wrong_share: f32,
    /// Times a picture is used.
    reuse: u64,
    /// Questions about a picture.
    turns: usize,
    seed: (u64, usize),
}

impl Shapes {
    pub(super) fn new(stage: &Stage, seed: (u64, usize)) -> Self {
        let sampled = if stage.joint.is_some() { seed.0 ^ (seed.1 as u64) << 32 } else { seed.0 };
        Self {
            sampler: Sampler::new(sampled, stage.shapes.clone(), Split::Train),
            held_out: Sampler::new(0, stage.shapes.clone(), Split::HeldOut),
            wrong_share: stage.wrong_share as f32,
            reuse: stage.joint.as_ref().map_or(1, |joint| joint.reuse as u64),
            turns: stage.joint.as_ref().map_or(1, |joint| joint.turns),
            seed,
        }
    }

    /// Blocks of pictures are gone through several times, each time in another order. Questions are always new.
    pub(super) fn position(&self, kind: Kind, slot: u64) -> u64 {
        if kind == Kind::Understanding {
            return slot;
        }
        let (block, rest) = (slot / (BLOCK * self.reuse), slot % (BLOCK * self.reuse));
        let (pass, place) = (rest / BLOCK, rest % BLOCK);
        let mut draws = draws(self.seed, (Purpose::Shuffle, 0), block * self.reuse + pass);
        // An odd factor modulo a power of two takes every place once.
        let (factor, offset) = (draws.bits() | 1, draws.bits());
        block * BLOCK + place.wrapping_mul(factor).wrapping_add(offset) % BLOCK
    }

    pub(super) fn is_repeated(&self) -> bool {
        self.reuse > 1
    }

    fn sample(&self, position: u64) -> GenerationSample {
        match self.wrong_share > 0.0 {
            true => self.sampler.corrupted(position, self.wrong_share).sample,
            false => self.sampler.generation(position),
        }
    }

    pub(super) fn prompt(&self, position: u64) -> String {
        self.sample(position).prompt
    }

    pub(super) fn generation(&self, position: u64, side: usize) -> Described {
        let GenerationSample { scene, prompt, .. } = self.sample(position);
        Described { picture: scene.draw(side), words: prompt, scene: Some(scene), line: None }
    }

    pub(super) fn editing(&self, position: u64, side: usize) -> Edited {
        let sample = self.sampler.edit(position);
        let (source, target) = (sample.before.draw(side), sample.after.draw(side));
        Edited {
            source,
            target,
            instruction: sample.instruction,
            scenes: Some((sample.before, sample.after)),
            line: None,
        }
    }

    /// Every third sample is a description, the others are questions, or conversations of several.
    pub(super) fn understanding(&self, position: u64, side: usize) -> Asked {
        let (scene, mut turns) = if position % 3 == 2 {
            let sample = self.sampler.caption(position);
            (sample.scene, vec![(sample.question, sample.caption)])
        } else {
            let sample = self.sampler.question(position);
            (sample.scene, vec![(sample.question, sample.answer)])
        };
        if self.turns > 1 {
            turns = self.sampler.conversation(&scene, turns, self.turns, position);
        }
        let (question, answer) = turns.pop().unwrap_or_default();
        let mut said: Vec<(Role, String)> = Vec::new();
        for (question, answer) in turns {
            said.extend([(Role::User, question), (Role::Assistant, answer)]);
        }
        said.push((Role::User, question));
        Asked { picture: scene.draw(side), said, answer, scene: Some(scene), line: None }
    }

    /// A row for each of the categories, held out from training.
    pub(super) fn prompts_to_show(&self) -> (Vec<String>, usize) {
        let of = |category: &Category| {
            let category = *category;
            (0..SHOWN as u64).map(move |index| self.held_out.generation_in(category, index).prompt)
        };
        (Category::ALL.iter().flat_map(of).collect(), SHOWN)
    }
}
