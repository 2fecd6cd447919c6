//! `diffusion_schedule`, `diffusion_head` and `diffusion_sample_*`.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use unipic_models::diffusion::schedule::{Step, TRAINING_STEPS};
use unipic_models::diffusion::{HeadState, Schedule};

use crate::bound::{Bound, FLOW, PART, SCHEDULE};
use crate::case::{Case, NoSettings};
use crate::subject::Subject;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleSettings {
    /// A number in text, as the published configuration writes it.
    steps: String,
    noise_schedule: String,
    train_steps: usize,
}

/// Checks the schedule's arrays: those of the settings' step count, and those of another count N under `stepsN.`.
///
/// # Errors
/// When the case is not understood.
pub(crate) fn check_schedule(_: &Subject, case: &mut Case) -> Result<()> {
    let ScheduleSettings { steps, noise_schedule, train_steps } = case.settings()?;
    ensure!(noise_schedule == "cosine" && train_steps == TRAINING_STEPS, "another schedule than the published one");
    let default: usize = steps.parse()?;
    for name in case.quantities() {
        let prefixed = name.strip_prefix("steps").and_then(|rest| rest.split_once('.'));
        let (n_steps, array) = match prefixed {
            Some((n, array)) => (n.parse()?, array),
            None => (default, name.as_str()),
        };
        let schedule = Schedule::respaced(n_steps).with_context(|| format!("no schedule of {n_steps} steps"))?;
        check_array(case, &name, array, schedule.steps())?;
    }
    Ok(())
}

/// Checks one array of a schedule. One that we do not know stays unaccounted for, which fails the case.
fn check_array(case: &mut Case, name: &str, array: &str, steps: &[Step]) -> Result<()> {
    let of = |value: fn(&Step) -> f64| Tensor::from_iter(steps.iter().map(value), &Device::Cpu);
    match array {
        "betas" => case.check(name, &of(|s| s.beta)?, SCHEDULE),
        "posterior_log_variance_clipped" => case.check(name, &of(|s| s.posterior_log_variance)?, SCHEDULE),
        "posterior_mean_coef1" => case.check(name, &of(|s| s.mean_of_x0)?, SCHEDULE),
        "posterior_mean_coef2" => case.check(name, &of(|s| s.mean_of_x)?, SCHEDULE),
        "timestep_map" => case.check(name, &of(|s| s.timestep as f64)?, Bound::Equal),
        _ => Ok(()),
    }
}

/// Checks the head's network.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check_head(subject: &Subject, case: &mut Case) -> Result<()> {
    case.settings::<NoSettings>()?;
    let (x, condition) = (case.take("x")?.to_device(&subject.device)?, case.take("c")?.to_device(&subject.device)?);
    let timesteps = case.take("t")?.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    let timesteps: Vec<usize> = timesteps.into_iter().map(|t| t as usize).collect();
    case.check("out", &subject.synthesis.head.forward(&x, &timesteps, &condition)?, PART)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleSettings {
    cfg: f64,
    temperature: f64,
}

/// Checks a whole sampling with recorded noise.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check_sample(subject: &Subject, case: &mut Case) -> Result<()> {
    let SampleSettings { cfg, temperature } = case.settings()?;
    let head = &subject.synthesis.head;
    let condition = head.embed_condition(&case.take("c")?.to_device(&subject.device)?)?;
    let (init, steps) = (case.take("init")?, case.take("steps")?);
    let n_steps = steps.dim(0)?;
    let noise: Vec<Vec<f32>> =
        (0..n_steps).map(|i| steps.get(i)?.flatten_all()?.to_vec1()).collect::<candle_core::Result<_>>()?;
    let init_rows = init.flatten_all()?.to_vec1::<f32>()?;
    let mut state = HeadState::new(init_rows, vec![condition], n_steps, cfg as f32, temperature as f32)?;
    head.sample(&mut state, |step| noise[step].clone())?;
    let ours = Tensor::from_slice(state.x(), init.shape(), &Device::Cpu)?;
    // With guidance a sampling is held to the bound of tokens, which is what it yields. Some of its rows amplify the
    // rounding of every pass a hundredfold: on tiny-a an evaluation in f64 throughout is itself 1.4e-4 away from the
    // recorded values, and noise of 5e-7 on the network's outputs moves them by 1e-4 to 3e-4. Without guidance nothing
    // is amplified.
    let bound = if cfg == 1.0 { PART } else { FLOW };
    case.check("out", &ours, bound)
}
