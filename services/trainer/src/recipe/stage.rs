//! One stage of a recipe.

use serde::{Deserialize, Serialize};
use unipic_weights::Part;
use unipic_world::Difficulty;

use super::Joint;

/// One stage: what learns, how fast, and from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its name, in progress and files.
    pub name: String,
    /// Optimizer steps.
    pub steps: usize,
    /// Samples in a step, of all tasks together.
    pub batch: usize,
    /// Samples that stand in memory at once, and are computed by one thread. Part of the recipe, because sums are taken
    /// in this grouping.
    pub micro_batch: usize,
    /// Parts that are trained, by the names that `unipic model inspect` prints; all others are frozen.
    pub train: Vec<String>,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// How the rate goes on after warming up.
    #[serde(default)]
    pub schedule: Schedule,
    /// Share of the steps over which the rate rises from 0.
    #[serde(default)]
    pub warm_up: f64,
    /// Decay of the exponential average of the weights, which is what a stage hands on; 0 takes the weights themselves.
    #[serde(default)]
    pub ema: f64,
    /// Decoupled weight decay, of matrices only.
    #[serde(default)]
    pub weight_decay: f64,
    /// AdamW's β.
    #[serde(default = "published_betas")]
    pub betas: (f64, f64),
    /// Largest norm of all gradients together.
    #[serde(default = "one")]
    pub clip: f64,
    /// Steps from one saved state to the next.
    #[serde(default = "save_every")]
    pub save_every: usize,
    /// The shapes world's knobs for this stage.
    #[serde(default)]
    pub shapes: Difficulty,
    /// A file of rows to learn from instead of the shapes world, one JSON object a line, in the forms of `unipic data`:
    /// `{"image", "caption"}` for generation, and for understanding as a description; `{"image", "conversation": [{"role":
    /// "user" | "assistant", "text"}, …]}` for understanding, where every answer is learnt; `{"source", "instruction",
    /// "target"}` for editing. An autoencoder stage takes the pictures of all. Paths of images are relative to the file.
    #[serde(default)]
    pub rows: Option<std::path::PathBuf>,
    /// Share of the samples whose words do not fit their picture, to measure curation with.
    #[serde(default)]
    pub wrong_share: f64,
    /// Share of the values that MAR drops in training: 0.1 in the published schedule. It costs time, since attention is
    /// then no fused operation.
    // Left out of what is written while there is none, so that runs begun before this key can be resumed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropout: f64,
    /// Trains the autoencoder.
    #[serde(default)]
    pub autoencoder: Option<Autoencoder>,
    /// Trains generation, editing and understanding.
    #[serde(default)]
    pub joint: Option<Joint>,
}

/// How the learning rate goes on after warming up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// As it is.
    #[default]
    Constant,
    /// Half a cosine, to 0.
    Cosine,
}

/// A stage that trains the autoencoder on reconstruction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autoencoder {
    /// Side of the drawn images, in pixels.
    pub resolution: usize,
    /// Side of the square that is cut out of each, in pixels; at random multiples of the stride.
    pub crop: usize,
    /// Weight of the posterior's divergence from the unit normal, in nats per latent value.
    pub kl: f64,
    /// Leaves the encoder, and so the latents that other parts have learnt, as they are.
    #[serde(default)]
    pub decoder_only: bool,
    /// Weight of the mean absolute error of the steps between neighbouring pixels: what is soft at an edge, or ripples
    /// beside it, is little of a picture's error and much of this.
    // Left out of what is written while there is none, so that runs begun before this key can be resumed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub edges: f64,
}

fn published_betas() -> (f64, f64) {
    (0.9, 0.95)
}

fn one() -> f64 {
    1.0
}

fn save_every() -> usize {
    500
}

fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

fn positive_number(x: f64) -> bool {
    x > 0.0 && x.is_finite()
}

/// The parts of these names.
pub(super) fn parts(key: &str, names: &[String]) -> Result<Vec<Part>, String> {
    let named = |name: &String| {
        let known = || Part::ALL.map(Part::label).join(", ");
        let part = Part::ALL.into_iter().find(|part| part.label() == name);
        part.ok_or_else(|| format!("{key}: `{name}` is no part; there are {}", known()))
    };
    names.iter().map(named).collect()
}

impl Stage {
    /// The trained parts.
    ///
    /// # Errors
    /// When a name is no part's.
    pub fn parts(&self) -> Result<Vec<Part>, String> {
        parts("train", &self.train)
    }

    /// The learning rate of a step, from 0.
    #[must_use]
    pub fn rate(&self, step: usize) -> f64 {
        let (step, warm) = (step as f64 + 1.0, (self.warm_up * self.steps as f64).max(1.0));
        if step < warm {
            return self.learning_rate * step / warm;
        }
        match self.schedule {
            Schedule::Constant => self.learning_rate,
            Schedule::Cosine => {
                let done = (step - warm) / (self.steps as f64 - warm).max(1.0);
                self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        }
    }

    /// Refuses values that make no sense, by key.
    pub(super) fn check(&self) -> Result<(), String> {
        let parts = self.parts()?;
        if parts.is_empty() {
            return Err("train: must name at least one part".into());
        }
        let positive = [
            ("steps", self.steps),
            ("batch", self.batch),
            ("micro_batch", self.micro_batch),
            ("save_every", self.save_every),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, n)| *n == 0) {
            return Err(format!("{key}: must be at least 1"));
        }
        let shares = [
            ("warm_up", self.warm_up),
            ("wrong_share", self.wrong_share),
            ("ema", self.ema),
            ("dropout", self.dropout),
        ];
        if let Some((key, value)) = shares.into_iter().find(|(_, x)| !(0.0..1.0).contains(x)) {
            return Err(format!("{key}: {value} is not from 0 to below 1"));
        }
        if !positive_number(self.learning_rate) || !positive_number(self.clip) {
            return Err(format!("learning_rate ({}) and clip ({}) must be positive", self.learning_rate, self.clip));
        }
        if self.weight_decay < 0.0 || !self.weight_decay.is_finite() {
            return Err(format!("weight_decay: {} is negative", self.weight_decay));
        }
        self.shapes.check().map_err(|e| format!("shapes: {e}"))?;
        self.check_rows()?;
        if self.dropout > 0.0 && self.joint.is_none() {
            return Err("dropout: only a `joint` stage has any".into());
        }
        match (&self.autoencoder, &self.joint) {
            (Some(autoencoder), None) => autoencoder.check(&parts),
            (None, Some(joint)) => joint.check(&parts).and_then(|()| joint.mix.check(self.batch)),
            _ => Err("a stage has either an `autoencoder` or a `joint` table".into()),
        }
    }
}

impl Stage {
    /// Refuses sides that the model's autoencoder cannot cut into places.
    pub(super) fn check_sides(&self, stride: usize) -> Result<(), String> {
        let autoencoder = self
            .autoencoder
            .iter()
            .flat_map(|a| [("autoencoder.resolution", a.resolution), ("autoencoder.crop", a.crop)]);
        let joint = self.joint.iter().map(|joint| ("joint.resolution", joint.resolution));
        match autoencoder.chain(joint).find(|(_, side)| *side == 0 || !side.is_multiple_of(stride)) {
            Some((key, side)) => Err(format!("{key}: {side} is no multiple of the autoencoder's stride, {stride} px")),
            None => Ok(()),
        }
    }

    /// Refuses what the shapes world alone can do.
    fn check_rows(&self) -> Result<(), String> {
        match &self.rows {
            Some(_) if self.wrong_share > 0.0 => {
                Err("wrong_share: only words of the shapes world are made wrong".into())
            }
            Some(_) if self.joint.as_ref().is_some_and(|joint| joint.readout.is_some()) => {
                Err("joint.readout: only of pictures of the shapes world is known what they show".into())
            }
            Some(_) if self.joint.as_ref().is_some_and(|joint| joint.reuse > 1) => {
                Err("joint.reuse: rows come again in every epoch as it is".into())
            }
            Some(_) if self.joint.as_ref().is_some_and(|joint| joint.turns > 1) => {
                Err("joint.turns: rows have the turns of their conversations".into())
            }
            _ => Ok(()),
        }
    }
}

impl Autoencoder {
    fn check(&self, parts: &[Part]) -> Result<(), String> {
        if self.crop == 0 || self.crop > self.resolution {
            return Err(format!("autoencoder: crop {} of {} px", self.crop, self.resolution));
        }
        for (key, weight) in [("kl", self.kl), ("edges", self.edges)] {
            if !weight.is_finite() || weight < 0.0 {
                return Err(format!("autoencoder.{key}: {weight} is no weight, which is 0 or more"));
            }
        }
        if parts != [Part::Vae] {
            return Err("train: an autoencoder stage trains `vae` and nothing else".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> Stage {
        let text = r#"
            name = "s"
            steps = 100
            batch = 4
            micro_batch = 2
            train = ["vae"]
            learning_rate = 1.0
            schedule = "cosine"
            warm_up = 0.1
            [autoencoder]
            resolution = 64
            crop = 32
            kl = 0.0
        "#;
        toml::from_str(text).unwrap()
    }

    fn joint() -> Joint {
        let text = r#"
            resolution = 64
            mix = { generation = 1.0 }
            loss_weights = { understanding = 1.0, generation = 1.0, editing = 1.0 }
            readout = { drawn = 0.1 }
        "#;
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_rate_warms_up_and_falls() {
        let stage = stage();
        assert!((stage.rate(0) - 0.1).abs() < 1e-12);
        assert!((stage.rate(9) - 1.0).abs() < 1e-12);
        assert!(stage.rate(54) < 0.6 && stage.rate(54) > 0.4);
        assert!(stage.rate(99) < 1e-9);
    }

    #[test]
    fn sides_are_multiples_of_the_stride() {
        let stage = stage();
        assert_eq!(stage.check_sides(16), Ok(()));
        assert!(stage.check_sides(64).unwrap_err().contains("autoencoder.crop: 32"));
        assert!(Stage { joint: Some(joint()), ..stage }.check_sides(128).unwrap_err().contains("64"));
    }

    #[test]
    fn bad_values_are_told_by_key() {
        let wrong = |change: fn(&mut Stage), key: &str| {
            let mut stage = stage();
            change(&mut stage);
            let error = stage.check().unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
        };
        assert_eq!(stage().check(), Ok(()));
        wrong(|s| s.steps = 0, "steps");
        wrong(|s| s.train = vec!["vea".into()], "`vea`");
        wrong(|s| s.train = vec![], "at least one part");
        wrong(|s| s.train = vec!["mar".into()], "vae");
        wrong(|s| s.learning_rate = f64::NAN, "learning_rate");
        wrong(|s| s.warm_up = 1.5, "warm_up");
        wrong(|s| s.autoencoder = None, "autoencoder");
        wrong(|s| s.autoencoder.as_mut().unwrap().crop = 65, "crop 65 of 64");
        wrong(|s| s.autoencoder.as_mut().unwrap().kl = -1.0, "autoencoder.kl");
        wrong(|s| s.autoencoder.as_mut().unwrap().edges = f64::NAN, "autoencoder.edges");
        wrong(|s| s.shapes.sizes.clear(), "sizes");
        wrong(|s| s.dropout = 1.0, "dropout");
        wrong(|s| s.dropout = 0.1, "dropout");
        wrong(
            |s| {
                s.joint = Some(joint());
                (s.autoencoder, s.rows, s.train) = (None, Some("rows.jsonl".into()), vec!["mar".into()]);
            },
            "joint.readout",
        );
        wrong(
            |s| {
                s.joint = Some(Joint { turns: 2, readout: None, ..joint() });
                (s.autoencoder, s.rows, s.train) = (None, Some("rows.jsonl".into()), vec!["mar".into()]);
            },
            "joint.turns",
        );
        wrong(|s| (s.rows, s.wrong_share) = (Some("rows.jsonl".into()), 0.1), "wrong_share");
    }
}
