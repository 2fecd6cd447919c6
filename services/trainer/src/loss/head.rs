//! The diffusion head's loss: how far its noise is from the true one, and how far its variance is from the best.

use std::f64::consts::{LN_2, PI};
use std::sync::LazyLock;

use candle_core::{Result, Tensor};
use unipic_models::diffusion::schedule::{Step, TRAINING_STEPS};
use unipic_models::diffusion::{Head, Schedule};
use unipic_models::mar::LATENT_CHANNELS;

/// Probabilities below this count as this.
const LEAST_PROBABILITY: f64 = 1e-12;

/// Half the width of the interval that a value stands for, a 255th of [-1, 1] as with pixels.
const HALF_INTERVAL: f64 = 1.0 / 255.0;

/// Values beyond this stand for everything beyond.
const OPEN_END: f64 = 0.999;

static SCHEDULE: LazyLock<Option<Schedule>> = LazyLock::new(|| Schedule::respaced(TRAINING_STEPS));

/// What the head is to predict: R latents, each noised several times.
#[derive(Clone, Debug)]
pub struct Targets<'a> {
    /// The latents, f32 `[R, 16]`.
    pub latents: &'a Tensor,
    /// Weight of every latent's loss, `[R]`; the mask.
    pub weights: &'a [f32],
    /// Timesteps of the full schedule, `[n_repeats·R]`, repetition after repetition.
    pub timesteps: &'a [usize],
    /// Noise, f32 `[n_repeats·R, 16]`.
    pub noise: &'a Tensor,
}

/// The head's loss, Σ weight·row / Σ weight, where a row is the mean over channels of (noise − ε)² and the variational
/// term in bits.
///
/// Shapes: conditions `z` `[R, D]` → scalar f32. The gradient of the variational term reaches the variance only: ε is
/// detached in it (model page, section 10).
///
/// # Errors
/// When shapes do not fit, a timestep is beyond the schedule, all weights are zero, or the device fails.
pub fn head_loss(head: &Head, z: &Tensor, targets: &Targets) -> Result<Tensor> {
    let rows = Rows::new(z.dim(0)?, targets)?;
    let x = rows.noised()?;
    let predicted = predict(head, &x, z, targets.timesteps)?;
    let error = (predicted.narrow(1, 0, LATENT_CHANNELS)? - targets.noise)?;
    let square = error.sqr()?;
    let log_variance = rows.log_variance(&predicted.narrow(1, LATENT_CHANNELS, LATENT_CHANNELS)?)?;
    let loss = weighted_sum(&square, &rows.weights(|_, _| 1.0)?)?;
    let divergence = rows.divergence(&square.detach(), &log_variance)?;
    let loss = (loss + weighted_sum(&divergence, &rows.weights(|t, _| if t > 0 { 1.0 / LN_2 } else { 0.0 })?)?)?;
    match rows.last_step(&x, &error.detach(), &log_variance)? {
        Some(likelihood) => loss + likelihood,
        None => Ok(loss),
    }
}

/// The network on rows that repeat the conditions `z` `[R, D]`: the condition is embedded once for all repetitions, and a
/// timestep once however many rows have it, since there are more rows in a step than timesteps in the schedule.
fn predict(head: &Head, x: &Tensor, z: &Tensor, timesteps: &[usize]) -> Result<Tensor> {
    let condition = head.embed_condition(z)?;
    let condition = Tensor::cat(&vec![condition; timesteps.len() / z.dim(0)?], 0)?;
    let mut distinct = timesteps.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let row = |t: &usize| distinct.partition_point(|known| known < t) as u32;
    let rows = super::indices(timesteps.iter().map(row).collect(), x.device())?;
    let time = head.embed_timesteps(&distinct)?.index_select(&rows, 0)?;
    head.predict(&head.project_input(x)?, &time, &condition)
}

/// Σ value·weight, weights `[T, 1]`.
fn weighted_sum(values: &Tensor, weights: &Tensor) -> Result<Tensor> {
    values.broadcast_mul(weights)?.sum_all()
}

/// The rows of all repetitions, with what the schedule says about them.
struct Rows<'a> {
    targets: &'a Targets<'a>,
    schedule: &'a Schedule,
    n_latents: usize,
    /// Σ weight over all rows.
    total_weight: f64,
    /// The latents of all rows, `[T, 16]`.
    latents: Tensor,
}

impl<'a> Rows<'a> {
    fn new(n_latents: usize, targets: &'a Targets) -> Result<Self> {
        let Some(schedule) = SCHEDULE.as_ref() else { candle_core::bail!("no full schedule") };
        let Targets { latents, weights, timesteps, noise } = targets;
        let n_repeats = timesteps.len() / n_latents.max(1);
        let expected = [n_latents, LATENT_CHANNELS];
        if latents.dims() != expected || weights.len() != n_latents || timesteps.len() != n_repeats * n_latents {
            let (n_weights, n_steps) = (weights.len(), timesteps.len());
            let shape = latents.shape();
            candle_core::bail!(
                "{n_latents} conditions for latents {shape:?}, {n_weights} weights, {n_steps} timesteps"
            );
        }
        if noise.dims() != [timesteps.len(), LATENT_CHANNELS] {
            candle_core::bail!("noise {:?} for {} timesteps", noise.shape(), timesteps.len());
        }
        if let Some(t) = timesteps.iter().find(|t| **t >= TRAINING_STEPS) {
            candle_core::bail!("timestep {t} is beyond the schedule of {TRAINING_STEPS}");
        }
        let total_weight = n_repeats as f64 * weights.iter().copied().map(f64::from).sum::<f64>();
        if !(total_weight.is_finite() && total_weight > 0.0) {
            candle_core::bail!("{} rows of total weight {total_weight}", timesteps.len());
        }
        let latents = Tensor::cat(&vec![*latents; n_repeats], 0)?;
        Ok(Self { targets, schedule, n_latents, total_weight, latents })
    }

    /// A number per row, `[T, 1]`; of timestep and latent.
    fn column(&self, of: impl Fn(usize, usize) -> f64) -> Result<Tensor> {
        let timesteps = self.targets.timesteps.iter().enumerate();
        let values: Vec<f32> = timesteps.map(|(row, &t)| of(t, row % self.n_latents) as f32).collect();
        Tensor::from_vec(values, (self.targets.timesteps.len(), 1), self.latents.device())
    }

    /// A number per row that the schedule knows.
    fn scheduled(&self, of: impl Fn(&Step) -> f64) -> Result<Tensor> {
        self.column(|t, _| of(&self.schedule.steps()[t]))
    }

    /// What a channel of each row counts in the loss, times a factor of timestep and latent.
    fn weights(&self, factor: impl Fn(usize, usize) -> f64) -> Result<Tensor> {
        let whole = self.total_weight * LATENT_CHANNELS as f64;
        self.column(|t, latent| factor(t, latent) * f64::from(self.targets.weights[latent]) / whole)
    }

    /// x_t = √ᾱ·x + √(1−ᾱ)·noise.
    fn noised(&self) -> Result<Tensor> {
        let signal = self.latents.broadcast_mul(&self.scheduled(|s| s.alpha_cumprod.sqrt())?)?;
        signal + self.targets.noise.broadcast_mul(&self.scheduled(|s| (1.0 - s.alpha_cumprod).sqrt())?)?
    }

    /// The predicted log-variance from the interpolation `[T, 16]`.
    fn log_variance(&self, interpolation: &Tensor) -> Result<Tensor> {
        let half_range = self.scheduled(|s| 0.5 * (s.beta.ln() - s.posterior_log_variance))?;
        let least = self.scheduled(|s| s.posterior_log_variance)?;
        (interpolation + 1.0)?.broadcast_mul(&half_range)?.broadcast_add(&least)
    }

    /// The KL divergence of the predicted Gaussian from the true posterior, in nats, `[T, 16]`. The two means differ by
    /// c1·√(1/ᾱ − 1)·(ε − noise), of which `square` is the last factor squared.
    fn divergence(&self, square: &Tensor, log_variance: &Tensor) -> Result<Tensor> {
        let variance = self.scheduled(|s| s.posterior_log_variance.exp())?;
        let of_square = self.scheduled(|s| (s.mean_of_x0 * s.x0_of_noise).powi(2))?;
        let spread = square.broadcast_mul(&of_square)?.broadcast_add(&variance)?;
        let constant = self.scheduled(|s| 1.0 + s.posterior_log_variance)?;
        let relative = (spread * log_variance.neg()?.exp()?)?;
        (log_variance + relative)?.broadcast_sub(&constant)? * 0.5
    }

    /// For the rows at timestep 0, if there are any, the weighted sum of the negative log-likelihood of their latents under
    /// the predicted Gaussian, in bits. Its mean is the predicted x0.
    fn last_step(&self, x: &Tensor, error: &Tensor, log_variance: &Tensor) -> Result<Option<Tensor>> {
        let rows = self.targets.timesteps.iter().enumerate().filter(|(_, t)| **t == 0);
        let rows: Vec<u32> = rows.map(|(row, _)| row as u32).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = super::indices(rows, x.device())?;
        let take = |t: &Tensor| t.index_select(&rows, 0);
        let (latents, noise) = (take(&self.latents)?, take(self.targets.noise)?);
        let step = self.schedule.steps()[0];
        let x0 = ((take(x)? * step.x0_of_x)? - ((noise + take(error)?)? * step.x0_of_noise)?)?;
        let mean = ((x0 * step.mean_of_x0)? + (take(x)? * step.mean_of_x)?)?;
        let likelihood = log_likelihood(&latents, &mean, &(take(log_variance)? * 0.5)?)?;
        Ok(Some(weighted_sum(&likelihood, &take(&self.weights(|_, _| -1.0 / LN_2)?)?)?))
    }
}

/// ln P of the interval around each value under Gaussians of this mean and logarithm of the standard deviation.
fn log_likelihood(values: &Tensor, mean: &Tensor, log_deviation: &Tensor) -> Result<Tensor> {
    let (centred, precision) = ((values - mean)?, log_deviation.neg()?.exp()?);
    let below = normal_cdf(&((&centred - HALF_INTERVAL)? * &precision)?)?;
    let above = normal_cdf(&((&centred + HALF_INTERVAL)? * &precision)?)?;
    let log = |p: &Tensor| p.maximum(LEAST_PROBABILITY)?.log();
    let inside = log(&(&above - &below)?)?;
    let from_here = values.gt(OPEN_END)?.where_cond(&log(&below.affine(-1.0, 1.0)?)?, &inside)?;
    values.lt(-OPEN_END)?.where_cond(&log(&above)?, &from_here)
}

/// The usual approximation of the normal distribution function by a tanh.
fn normal_cdf(x: &Tensor) -> Result<Tensor> {
    let inner = ((x + ((x.sqr()? * x)? * 0.044_715)?)? * (2.0 / PI).sqrt())?;
    (inner.tanh()? + 1.0)? * 0.5
}
