//! Picks tokens.

/// How tokens are picked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerSettings {
    /// 0 picks the likeliest token; above 0, tokens are drawn at this temperature.
    pub temperature: f32,
    /// Draw from the smallest set of likeliest tokens whose probability reaches this; in (0, 1].
    pub top_p: f32,
    /// Seed of the draws.
    pub seed: u64,
}

impl SamplerSettings {
    /// The likeliest token, always.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, seed: 0 };
}

/// Why no token can be picked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplingError {
    /// The model's output is not a number.
    #[error("logits are not finite")]
    NonFinite,
    /// There are no logits.
    #[error("there are no logits")]
    Empty,
}

/// Picks one token after the other.
#[derive(Clone, Debug)]
pub struct Sampler {
    settings: SamplerSettings,
    /// Tokens picked so far.
    n_picked: u64,
}

impl Sampler {
    /// A sampler before its first token.
    pub fn new(settings: SamplerSettings) -> Self {
        Self { settings, n_picked: 0 }
    }

    /// The next token, given the logits of the whole vocabulary. Of equal logits the lower id is the likelier.
    ///
    /// # Errors
    /// When a logit is not finite, or there are none.
    pub fn pick(&mut self, logits: &[f32]) -> Result<u32, SamplingError> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(SamplingError::NonFinite);
        }
        let likeliest = argmax(logits).ok_or(SamplingError::Empty)?;
        let draw = uniform(self.settings.seed, self.n_picked);
        self.n_picked += 1;
        if self.settings.temperature <= 0.0 {
            return Ok(likeliest as u32);
        }
        let weights = weights(logits, logits[likeliest], f64::from(self.settings.temperature));
        Ok(draw_from(&weights, f64::from(self.settings.top_p), draw).unwrap_or(likeliest) as u32)
    }
}

fn argmax(logits: &[f32]) -> Option<usize> {
    let better = |best: Option<usize>, (i, logit): (usize, &f32)| match best {
        Some(b) if logits[b] >= *logit => best,
        _ => Some(i),
    };
    logits.iter().enumerate().fold(None, better)
}

/// exp((logit − highest) / temperature): probabilities up to a factor, in f64.
fn weights(logits: &[f32], highest: f32, temperature: f64) -> Vec<f64> {
    logits.iter().map(|logit| ((f64::from(*logit) - f64::from(highest)) / temperature).exp()).collect()
}

/// The token at `draw` in [0, 1) of the distribution that `weights` describe, cut to its likeliest `top_p`.
fn draw_from(weights: &[f64], top_p: f64, draw: f64) -> Option<usize> {
    let total: f64 = weights.iter().sum();
    let mut candidates: Vec<usize> = (0..weights.len()).collect();
    if top_p < 1.0 {
        // A token this unlikely cannot be among the likeliest `top_p`, since all such together are less than the rest:
        // dropping them first spares sorting a vocabulary of 152 thousand.
        let least = total * (1.0 - top_p) / weights.len() as f64;
        candidates.retain(|i| weights[*i] >= least);
        candidates.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
        let mut sum = 0.0;
        let reached = candidates.iter().position(|i| {
            sum += weights[*i];
            sum >= top_p * total
        });
        candidates.truncate(reached.map_or(candidates.len(), |last| last + 1));
    }
    let kept: f64 = candidates.iter().map(|i| weights[*i]).sum();
    let mut left = draw * kept;
    let drawn = candidates.iter().find(|i| {
        left -= weights[**i];
        left < 0.0
    });
    // Rounding may leave a crumb behind the last one; it belongs to the likeliest, which the caller knows.
    drawn.copied()
}

/// A number in [0, 1) that depends on the seed and the counter only: SplitMix64 (Steele, Lea and Flood 2014), whose
/// n-th output is a function of its n-th state.
fn uniform(seed: u64, counter: u64) -> f64 {
    let mut z = seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 53) as f64
}
