//! Random numbers of a run, each a function of (seed, stage, step, sample) and a purpose.

use unipic_world::Draws;

/// What draws are for; each purpose has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Which cut of a picture.
    Cut,
    /// The posterior's sample.
    Posterior,
    /// How many places are masked.
    MaskShare,
    /// Which places are masked.
    Mask,
    /// Timesteps and noise of the head, in one of its draws.
    Head,
    /// Whether a prompt is dropped.
    Unconditional,
    /// The order in which pictures are used again.
    Shuffle,
    /// The order of a file's rows.
    Rows,
    /// What is dropped in a pass.
    Dropout,
}

/// Which of a purpose's streams, where it has several: those of a task, a repetition or a list.
pub(crate) type Variant = u16;

/// Streams of the trainer, apart from those of the shapes world.
const TRAINER: u64 = 0x7472;

/// The draws of one sample of a stage; `run` is the run's seed with the stage's number.
pub(crate) fn draws(run: (u64, usize), (purpose, variant): (Purpose, Variant), index: u64) -> Draws {
    Draws::new(run.0, stream(run.1, purpose, variant), index)
}

/// Each field has bits of its own, so no two addresses are one stream.
fn stream(stage: usize, purpose: Purpose, variant: Variant) -> u64 {
    TRAINER << 48 | (stage as u64 & 0xff_ffff) << 24 | (purpose as u64) << 16 | u64::from(variant)
}

/// A standard normal value, by Box and Muller.
pub(crate) fn normal(draws: &mut Draws) -> f32 {
    let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let radius = (-2.0 * unit(draws.bits()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * unit(draws.bits())).cos()) as f32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [Purpose; 9] = [
        Purpose::Cut,
        Purpose::Posterior,
        Purpose::MaskShare,
        Purpose::Mask,
        Purpose::Head,
        Purpose::Unconditional,
        Purpose::Shuffle,
        Purpose::Rows,
        Purpose::Dropout,
    ];

    #[test]
    fn every_stage_purpose_and_variant_has_its_own_draws() {
        let (stages, variants) = (64, 0..32);
        let mut seen = BTreeSet::new();
        for stage in 0..stages {
            for purpose in ALL {
                for variant in variants.clone() {
                    seen.insert(draws((7, stage), (purpose, variant), 0).bits());
                }
            }
        }
        assert_eq!(seen.len(), stages * ALL.len() * variants.len());
    }
}
