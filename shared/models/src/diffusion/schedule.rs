//! The noise schedule and its respacing to fewer steps, in f64 throughout.

use std::f64::consts::FRAC_PI_2;

/// Timesteps that the head was trained on.
pub const TRAINING_STEPS: usize = 1000;

/// Largest β of the full schedule. The published code caps it here and not at the usual 0.999.
const MAX_BETA: f64 = 0.2;

/// What one ancestral step needs to know of its timestep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The timestep of the full schedule, which the head sees.
    pub timestep: usize,
    /// Variance of the step.
    pub beta: f64,
    /// ᾱ, the share of the signal's variance that is left.
    pub alpha_cumprod: f64,
    /// √(1/ᾱ), of x in x0.
    pub x0_of_x: f64,
    /// √(1/ᾱ − 1), of ε in x0.
    pub x0_of_noise: f64,
    /// Coefficient of x0 in the posterior mean.
    pub mean_of_x0: f64,
    /// Coefficient of x in the posterior mean.
    pub mean_of_x: f64,
    /// Logarithm of the posterior variance; that of the first step, which is zero, replaced by the second's.
    pub posterior_log_variance: f64,
}

/// A schedule of S steps; the sampler runs it from the last to the first (model page, section 6).
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    steps: Vec<Step>,
}

impl Schedule {
    /// The cosine schedule respaced to `n_steps`; none for 0 or more than [`TRAINING_STEPS`].
    pub fn respaced(n_steps: usize) -> Option<Self> {
        let timesteps = kept_timesteps(n_steps)?;
        let full = full_alphas_cumprod();
        let mut steps = Vec::with_capacity(n_steps);
        let (mut full_before, mut before) = (1.0, 1.0);
        for timestep in timesteps {
            let beta = 1.0 - full[timestep] / full_before;
            full_before = full[timestep];
            let step = step(timestep, beta, before);
            before = step.alpha_cumprod;
            steps.push(step);
        }
        let second = steps.get(1).map(|s| s.posterior_log_variance);
        if let Some(first) = steps.first_mut() {
            first.posterior_log_variance = second.unwrap_or(first.beta.ln());
        }
        Some(Self { steps })
    }

    /// The steps, first to last.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// A step from its own β and the ᾱ before it.
fn step(timestep: usize, beta: f64, before: f64) -> Step {
    let alpha_cumprod = before * (1.0 - beta);
    let rest = 1.0 - alpha_cumprod;
    Step {
        timestep,
        beta,
        alpha_cumprod,
        x0_of_x: (1.0 / alpha_cumprod).sqrt(),
        x0_of_noise: (1.0 / alpha_cumprod - 1.0).sqrt(),
        mean_of_x0: beta * before.sqrt() / rest,
        mean_of_x: (1.0 - before) * (1.0 - beta).sqrt() / rest,
        posterior_log_variance: (beta * (1.0 - before) / rest).ln(),
    }
}

/// Timesteps of the full schedule that are kept: evenly spaced, rounded half to even.
fn kept_timesteps(n_steps: usize) -> Option<Vec<usize>> {
    match n_steps {
        0 => None,
        1 => Some(vec![0]),
        2..=TRAINING_STEPS => {
            let stride = (TRAINING_STEPS - 1) as f64 / (n_steps - 1) as f64;
            Some((0..n_steps).map(|j| (j as f64 * stride).round_ties_even() as usize).collect())
        }
        _ => None,
    }
}

fn full_alphas_cumprod() -> Vec<f64> {
    let signal = |t: f64| ((t + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
    let total = TRAINING_STEPS as f64;
    let betas =
        (0..TRAINING_STEPS).map(|i| (1.0 - signal((i + 1) as f64 / total) / signal(i as f64 / total)).min(MAX_BETA));
    betas
        .scan(1.0, |product, beta| {
            *product *= 1.0 - beta;
            Some(*product)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_schedule_keeps_every_timestep() {
        let schedule = Schedule::respaced(TRAINING_STEPS).unwrap();
        assert!(schedule.steps().iter().enumerate().all(|(i, s)| s.timestep == i));
        assert!(schedule.steps().iter().all(|s| s.beta <= MAX_BETA + 1e-9));
    }

    #[test]
    fn step_counts_without_a_schedule_are_refused() {
        assert_eq!(Schedule::respaced(0), None);
        assert_eq!(Schedule::respaced(TRAINING_STEPS + 1), None);
    }

    #[test]
    fn few_steps_are_finite() {
        for n_steps in 1..5 {
            let schedule = Schedule::respaced(n_steps).unwrap();
            assert_eq!(schedule.steps().len(), n_steps);
            assert!(schedule.steps().iter().all(|s| s.posterior_log_variance.is_finite() && s.mean_of_x0.is_finite()));
        }
    }
}
