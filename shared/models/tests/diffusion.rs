//! The diffusion head and its sampler against the published implementation, and rows in company against the same alone.

mod support;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use support::{OPS, model, normals};
use unipic_models::diffusion::schedule::Step;
use unipic_models::diffusion::{Head, HeadState, HeadStep, Schedule};
use unipic_nn::Ops;
use unipic_test_support::{assert_close, case};

const BOUND: f64 = 1e-4;

/// One array of a schedule.
type Array = fn(&Step) -> f64;

fn assert_arrays(prefix: &str, n_steps: usize) -> Result<()> {
    let case = case("diffusion_schedule")?;
    let schedule = Schedule::respaced(n_steps).context("no such schedule")?;
    let timesteps: Vec<i64> = schedule.steps().iter().map(|s| s.timestep as i64).collect();
    assert_eq!(timesteps, case[&format!("{prefix}timestep_map")].to_vec1::<i64>()?);
    let arrays: [(&str, Array); 4] = [
        ("betas", |s| s.beta),
        ("posterior_log_variance_clipped", |s| s.posterior_log_variance),
        ("posterior_mean_coef1", |s| s.mean_of_x0),
        ("posterior_mean_coef2", |s| s.mean_of_x),
    ];
    let mut n_compared = 0;
    for (name, of) in arrays {
        let Some(expected) = case.get(&format!("{prefix}{name}")) else {
            continue;
        };
        n_compared += 1;
        for (step, expected) in schedule.steps().iter().zip(expected.to_vec1::<f64>()?) {
            assert!((of(step) - expected).abs() <= 1e-10 * expected.abs().max(1.0), "{name} at {}", step.timestep);
        }
    }
    anyhow::ensure!(n_compared >= 2, "nothing to compare");
    Ok(())
}

#[test]
fn the_schedule_equals_the_published_one() -> Result<()> {
    assert_arrays("", 20)?;
    assert_arrays("steps100.", 100)
}

#[test]
fn the_head_equals_the_published_one() -> Result<()> {
    let case = case("diffusion_head")?;
    let timesteps: Vec<usize> = case["t"].to_vec1::<i64>()?.into_iter().map(|t| t as usize).collect();
    for ops in OPS {
        let out = model(ops)?.head.forward(&case["x"], &timesteps, &case["c"])?;
        assert_close("out", &out, &case["out"], BOUND)?;
    }
    Ok(())
}

/// The rows of a case sampled by us and as published, each `[R, 16]`.
fn sampled(name: &str, ops: Ops, guidance: f32, temperature: f32) -> Result<(Tensor, Tensor)> {
    let mut case = case(name)?;
    let head = model(ops)?.head;
    let condition = head.embed_condition(&case["c"])?;
    let init = case["init"].flatten_all()?.to_vec1()?;
    let mut state = HeadState::new(init, vec![condition], 20, guidance, temperature)?;
    let steps: Vec<Vec<f32>> =
        (0..20).map(|i| Ok(case["steps"].get(i)?.flatten_all()?.to_vec1()?)).collect::<Result<_>>()?;
    head.sample(&mut state, |step| steps[step].clone())?;
    let expected = case.remove("out").context("no expected output")?;
    Ok((Tensor::from_slice(state.x(), expected.shape(), &Device::Cpu)?, expected))
}

#[test]
fn samples_without_guidance_equal_the_published_ones() -> Result<()> {
    for ops in OPS {
        let (ours, expected) = sampled("diffusion_sample_nocfg", ops, 1.0, 0.85)?;
        assert_close("samples", &ours, &expected, BOUND)?;
    }
    Ok(())
}

/// Rows 1 and 3 of this case are badly conditioned: the first step multiplies the head's rounding errors by about sixteen,
/// guidance by three more, and later steps do not forget them. The published f32 values of row 1 are themselves 1.3e-4
/// off an evaluation of the network in f64, and of 160 evaluations in f32 that differed in order of summation, form of
/// the norm and of the exponential, 96 ended farther than 1e-4 from them. So those rows are held to the bound of sampled
/// tokens, 1e-3, and the other two to one a hundredth of it.
#[test]
fn samples_with_guidance_equal_the_published_ones() -> Result<()> {
    for ops in OPS {
        let (ours, expected) = sampled("diffusion_sample_cfg3", ops, 3.0, 1.0)?;
        for (row, bound) in [(0, 1e-5), (1, 1e-3), (2, 1e-5), (3, 1e-3)] {
            assert_close(&format!("row {row} on {ops:?}"), &ours.get(row)?, &expected.get(row)?, bound)?;
        }
    }
    Ok(())
}

/// Rows with their own number of steps, guidance and temperature.
fn state(head: &Head, seed: u64, n_rows: usize, n_steps: usize, guidance: f32) -> Result<HeadState> {
    let n_branches = if guidance == 1.0 { 1 } else { 2 };
    let z = Tensor::from_vec(normals(n_branches * n_rows * 48, seed), (n_branches * n_rows, 48), &Device::Cpu)?;
    let condition = head.embed_condition(&z)?;
    Ok(HeadState::new(normals(n_rows * 16, seed + 100), vec![condition], n_steps, guidance, 0.9)?)
}

fn noise(state: &HeadState, seed: u64) -> Vec<f32> {
    let step = state.next_step().unwrap_or_default() as u64;
    if state.is_at_last_step() { Vec::new() } else { normals(state.x().len(), 1000 * seed + step) }
}

#[test]
fn rows_sample_to_the_same_bits_alone_and_in_company() -> Result<()> {
    let head = model(Ops::Inference)?.head;
    // (rows, head steps, guidance); one alone is a single row, one is larger than a pass.
    let requests = [(1, 7, 1.0), (5, 4, 3.0), (2, 9, 1.5), (600, 3, 2.0), (1, 1, 3.0)];
    let new = |(seed, (n_rows, n_steps, guidance)): (usize, (usize, usize, f32))| {
        state(&head, seed as u64, n_rows, n_steps, guidance)
    };
    let mut together = requests.into_iter().enumerate().map(new).collect::<Result<Vec<_>>>()?;
    let mut alone = together.clone();
    while together.iter().any(|s| s.next_step().is_some()) {
        let running = together.iter_mut().enumerate().filter(|(_, s)| s.next_step().is_some());
        let mut running: Vec<_> = running.map(|(i, s)| (noise(s, i as u64), s)).collect();
        let mut steps: Vec<_> = running.iter_mut().map(|(noise, state)| HeadStep { state, noise }).collect();
        head.step(&mut steps)?;
    }
    for (i, (alone, together)) in alone.iter_mut().zip(&together).enumerate() {
        while alone.next_step().is_some() {
            let noise = noise(alone, i as u64);
            head.step(&mut [HeadStep { state: alone, noise: &noise }])?;
        }
        let bits = |s: &HeadState| s.x().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(alone), bits(together), "request {i}");
    }
    Ok(())
}

#[test]
fn inconsistent_steps_are_errors_and_change_nothing() -> Result<()> {
    let head = model(Ops::Inference)?.head;
    let mut fresh = state(&head, 0, 2, 3, 2.0)?;
    let before = fresh.x().to_vec();
    assert!(head.step(&mut [HeadStep { state: &mut fresh, noise: &[0.0; 31] }]).is_err(), "too little noise");
    assert_eq!((fresh.next_step(), fresh.x()), (Some(0), before.as_slice()));
    head.sample(&mut fresh, |_| vec![0.0; 32])?;
    assert!(head.step(&mut [HeadStep { state: &mut fresh, noise: &[] }]).is_err(), "no step is left");
    let mut unknown = state(&head, 0, 2, 1001, 2.0)?;
    assert!(head.step(&mut [HeadStep { state: &mut unknown, noise: &[0.0; 32] }]).is_err(), "no such schedule");
    let condition = head.embed_condition(&Tensor::zeros((2, 48), candle_core::DType::F32, &Device::Cpu)?)?;
    assert!(HeadState::new(vec![0.0; 32], vec![condition.clone()], 3, 2.0, 1.0).is_err(), "one branch with guidance");
    assert!(HeadState::new(vec![0.0; 31], vec![condition], 3, 1.0, 1.0).is_err(), "half a row");
    Ok(())
}
