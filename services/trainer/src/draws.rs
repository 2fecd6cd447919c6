//! Random numbers of a run, each a function of (seed, stage, step, sample) and a purpose.

use unipic_world::Draws;

/// What draws are for; each purpose has a stream of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Which cut of a picture, and the posterior's sample.
    Autoencoder,
    /// Which places are masked.
    Mask,
    /// Timesteps and noise of the head.
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

/// The draws of one sample of a stage.
pub(crate) fn draws(seed: u64, stage: usize, purpose: Purpose, index: u64) -> Draws {
    Draws::new(seed, 0x7472_6169_6e00 | (stage as u64) << 8 | purpose as u64, index)
}

/// A standard normal value, by Box and Muller.
pub(crate) fn normal(draws: &mut Draws) -> f32 {
    let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let radius = (-2.0 * unit(draws.bits()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * unit(draws.bits())).cos()) as f32
}
