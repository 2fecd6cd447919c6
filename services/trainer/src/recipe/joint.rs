//! What a stage that trains the three tasks together is told.

use serde::{Deserialize, Serialize};
use unipic_weights::Part;

/// Questions in one conversation of the shapes world at most.
const MOST_TURNS: usize = 16;

/// Draws of (timestep, noise) for a place at most.
const MOST_HEAD_DRAWS: usize = 256;

/// No batch is advised that is larger.
const LARGE_BATCH: usize = 65_536;

/// A stage that trains the three tasks together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joint {
    /// Side of generated and edited images, in pixels.
    pub resolution: usize,
    /// Share of each task in a batch.
    pub mix: Mix,
    /// Weight of each task's loss.
    pub loss_weights: LossWeights,
    /// Share of generations that learn the unconditional prompt.
    #[serde(default = "tenth")]
    pub unconditional: f64,
    /// Draws of (timestep, noise) for every place.
    #[serde(default = "four")]
    pub head_draws: usize,
    /// Deviation of the Gaussian around 1 that the share of masked places comes from, cut to [0.7, 1]. Less than the
    /// published 0.25 spends more of the steps on nearly empty images, where the prompt alone decides.
    #[serde(default = "published_deviation")]
    pub mask_deviation: f64,
    /// Which encoder shows images to the language model.
    #[serde(default)]
    pub encoder: Encoder,
    /// Times a drawn picture is used before others are drawn, each time with another mask and other noise.
    #[serde(default = "once")]
    pub reuse: usize,
    /// How much of an edit's gradient passes into the encoding of its source: a tenth in the published schedule, whose
    /// encoders know images already. A model that learns to see by its edits needs all of it.
    #[serde(default = "tenth")]
    pub input_gradient: f64,
    /// Weights of the losses that hold inner states against what the shapes world drew; see
    /// [`readout`](crate::loss::readout). None as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readout: Option<ReadoutWeights>,
    /// Questions asked about a picture of the shapes world, one after the other in one conversation of which every answer
    /// is learnt: the picture is then encoded and read once for all of them.
    #[serde(default = "once")]
    pub turns: usize,
}

/// Weights of the readouts' losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadoutWeights {
    /// Of images to be understood, as the language model is shown them.
    pub seen: f64,
    /// Of edits' sources, as the language model is shown them.
    pub source: f64,
    /// Of what the diffusion head is told to draw.
    pub drawn: f64,
    /// Of words in questions and instructions that name something to be seen.
    pub named: f64,
}

/// Which encoder shows images to the language model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// The paper's.
    #[default]
    Siglip2,
    /// The released script's.
    Mar,
}

/// Shares of the tasks in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Questions and captions.
    pub understanding: f64,
    /// Prompts to draw.
    pub generation: f64,
    /// Instructions to change an image.
    pub editing: f64,
}

/// Weights of the losses, U : G : E of the published table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossWeights {
    /// Cross-entropy of answers.
    pub understanding: f64,
    /// The head's loss of generations.
    pub generation: f64,
    /// The head's loss of edits.
    pub editing: f64,
}

fn tenth() -> f64 {
    0.1
}

fn four() -> usize {
    4
}

fn published_deviation() -> f64 {
    0.25
}

fn once() -> usize {
    1
}

/// Samples of each task in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Samples {
    pub(crate) understanding: usize,
    pub(crate) generation: usize,
    pub(crate) editing: usize,
}

impl Mix {
    /// Cuts a batch by the shares: whole samples, the last of them to the largest remainders.
    pub(crate) fn samples(&self, batch: usize) -> Samples {
        let shares = [self.understanding, self.generation, self.editing];
        let total: f64 = shares.iter().sum();
        let exact = shares.map(|share| share / total * batch as f64);
        let mut n = exact.map(|x| x.floor() as usize);
        let mut order = [0, 1, 2];
        order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
        let left = batch.saturating_sub(n.iter().sum());
        order.into_iter().take(left).for_each(|task| n[task] += 1);
        let [understanding, generation, editing] = n;
        Samples { understanding, generation, editing }
    }

    /// Refuses a batch in which a task that has a share gets no sample.
    pub(super) fn check(&self, batch: usize) -> Result<(), String> {
        let lacking = |batch: usize| {
            let n = self.samples(batch);
            let tasks = [
                ("understanding", self.understanding, n.understanding),
                ("generation", self.generation, n.generation),
                ("editing", self.editing, n.editing),
            ];
            tasks.into_iter().find(|(_, share, n)| *share > 0.0 && *n == 0)
        };
        let Some((task, share, _)) = lacking(batch) else { return Ok(()) };
        let enough = (batch..=LARGE_BATCH).find(|batch| lacking(*batch).is_none());
        let advice = enough.map_or_else(|| "leave it out".to_owned(), |n| format!("batch: {n} would do"));
        Err(format!("joint.mix.{task}: {share} of a batch of {batch} is not one sample; {advice}"))
    }
}

impl Joint {
    pub(super) fn check(&self, parts: &[Part]) -> Result<(), String> {
        if parts.contains(&Part::Vae) {
            return Err("train: the autoencoder is frozen in a joint stage".into());
        }
        let shares = [self.mix.understanding, self.mix.generation, self.mix.editing];
        if shares.iter().any(|share| share.is_nan() || *share < 0.0) || shares.iter().sum::<f64>() <= 0.0 {
            return Err("joint.mix: shares are 0 or more and not all 0".into());
        }
        let LossWeights { understanding, generation, editing } = self.loss_weights;
        if [understanding, generation, editing].iter().any(|w| !(*w >= 0.0 && w.is_finite())) {
            return Err("joint.loss_weights: must be 0 or more".into());
        }
        let ReadoutWeights { seen, source, drawn, named } = self.readout.unwrap_or_default();
        if [seen, source, drawn, named].iter().any(|w| !(*w >= 0.0 && w.is_finite())) {
            return Err("joint.readout: weights must be 0 or more".into());
        }
        if !(self.mask_deviation > 0.0 && self.mask_deviation.is_finite()) {
            return Err(format!("joint.mask_deviation: {} is not positive", self.mask_deviation));
        }
        if !(0.0..=1.0).contains(&self.unconditional) {
            return Err(format!("joint.unconditional: {} is not from 0 to 1", self.unconditional));
        }
        if !(1..=MOST_HEAD_DRAWS).contains(&self.head_draws) {
            return Err(format!("joint.head_draws: {} is not from 1 to {MOST_HEAD_DRAWS}", self.head_draws));
        }
        if self.reuse == 0 {
            return Err("joint.reuse: must be at least 1".into());
        }
        if !(0.0..=1.0).contains(&self.input_gradient) {
            return Err(format!("joint.input_gradient: {} is not from 0 to 1", self.input_gradient));
        }
        if !(1..=MOST_TURNS).contains(&self.turns) {
            return Err(format!("joint.turns: {} is not from 1 to {MOST_TURNS}", self.turns));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_whole_and_nobody_is_left_out_in_silence() {
        let mix = Mix { understanding: 0.30, generation: 0.28, editing: 0.42 };
        assert_eq!(mix.samples(32), Samples { understanding: 10, generation: 9, editing: 13 });
        for batch in 1..100 {
            let n = mix.samples(batch);
            assert_eq!(n.understanding + n.generation + n.editing, batch);
        }
        let mix = Mix { understanding: 0.1, generation: 0.1, editing: 0.8 };
        let refused = mix.check(2).unwrap_err();
        assert!(refused.contains("joint.mix.understanding") && refused.contains("batch: 7 would do"), "{refused}");
        assert_eq!(mix.check(7), Ok(()));
        assert_eq!(Mix { editing: 1.0, ..Mix::default() }.check(1), Ok(()));
    }
}
