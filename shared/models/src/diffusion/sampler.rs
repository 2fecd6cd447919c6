//! Ancestral sampling with guidance, one step at a time for rows of many requests at once.

use candle_core::{Result, Tensor};

use super::head::{Head, Timetable};
use super::schedule::Step;
use crate::mar::LATENT_CHANNELS;

/// Rows of one pass through the network. A row's modulations alone take (3·depth + 2)·width values, so this keeps the
/// working memory of a step near 120 MB at the real sizes, whatever number of places an iteration reveals.
const ROWS_PER_PASS: usize = 512;

/// The sampling of some rows, between steps: what they hold now and what the remaining steps need.
///
/// The latents are on the host, in f32, where the elementwise arithmetic is done; a step moves 16 values a row to the
/// device and 32 back.
#[derive(Clone, Debug)]
pub struct HeadState {
    /// `[R, 16]`.
    x: Vec<f32>,
    /// Embedded conditions; one after the other `[branches·R, width]`, the conditional branch first.
    conditions: Vec<Tensor>,
    n_branches: usize,
    guidance: f32,
    temperature: f32,
    n_steps: usize,
    /// Steps still to take; the next one has this index less one in the schedule.
    n_left: usize,
}

/// A state about to take a step.
#[derive(Debug)]
pub struct HeadStep<'a> {
    /// The state, changed by the step.
    pub state: &'a mut HeadState,
    /// Standard normal draws `[R, 16]`; the last step uses none, and they may be left out there.
    pub noise: &'a [f32],
}

impl HeadState {
    /// Rows before their first step.
    ///
    /// `init` are standard normal draws `[R, 16]`; `conditions` one after the other the rows `[R, width]` of
    /// [`Head::embed_condition`], and behind them those `[R, width]` of the unconditional branch, which may be left out where
    /// guidance is exactly 1.
    ///
    /// # Errors
    /// When the rows do not fit.
    pub fn new(
        init: Vec<f32>,
        conditions: Vec<Tensor>,
        n_steps: usize,
        guidance: f32,
        temperature: f32,
    ) -> Result<Self> {
        let n_conditions = conditions.iter().map(|c| c.dim(0)).sum::<Result<usize>>()?;
        let n_rows = init.len() / LATENT_CHANNELS;
        let n_branches = if n_conditions == n_rows && guidance == 1.0 { 1 } else { 2 };
        if init.is_empty() || init.len() != n_rows * LATENT_CHANNELS || n_conditions != n_branches * n_rows {
            candle_core::bail!("{n_conditions} conditions for {} values at guidance {guidance}", init.len());
        }
        Ok(Self { x: init, conditions, n_branches, guidance, temperature, n_steps, n_left: n_steps })
    }

    /// Rows R.
    pub fn n_rows(&self) -> usize {
        self.x.len() / LATENT_CHANNELS
    }

    /// Rows that a step computes: R for each branch.
    pub fn n_computed_rows(&self) -> usize {
        self.n_rows() * self.n_branches
    }

    /// The number of the next step, counted in the order in which they are taken; none when all are taken.
    pub fn next_step(&self) -> Option<usize> {
        (self.n_left > 0).then_some(self.n_steps - self.n_left)
    }

    /// Whether the next step is the last, which needs no noise.
    pub fn is_at_last_step(&self) -> bool {
        self.n_left == 1
    }

    /// What the rows hold now, `[R, 16]`.
    pub fn x(&self) -> &[f32] {
        &self.x
    }

    /// One ancestral step; `predicted` is `[branches·R, 32]` (model page, section 6).
    fn advance(&mut self, step: &Step, predicted: &[f32], noise: &[f32]) {
        let (x0_of_x, x0_of_noise) = (step.x0_of_x as f32, step.x0_of_noise as f32);
        let (mean_of_x0, mean_of_x) = (step.mean_of_x0 as f32, step.mean_of_x as f32);
        let (largest, smallest) = (step.beta.ln() as f32, step.posterior_log_variance as f32);
        let unconditional = (self.n_branches == 2).then(|| &predicted[self.n_rows() * 2 * LATENT_CHANNELS..]);
        let is_last = self.n_left == 1;
        for (i, x) in self.x.iter_mut().enumerate() {
            let (row, channel) = (i / LATENT_CHANNELS, i % LATENT_CHANNELS);
            let at = row * 2 * LATENT_CHANNELS + channel;
            let epsilon = match unconditional {
                None => predicted[at],
                Some(unconditional) => unconditional[at] + self.guidance * (predicted[at] - unconditional[at]),
            };
            let x0 = x0_of_x * *x - x0_of_noise * epsilon;
            *x = mean_of_x0 * x0 + mean_of_x * *x;
            if !is_last {
                let share = (predicted[at + LATENT_CHANNELS] + 1.0) / 2.0;
                let log_variance = share * largest + (1.0 - share) * smallest;
                *x += (0.5 * log_variance).exp() * noise[i] * self.temperature;
            }
        }
        self.n_left -= 1;
    }
}

impl Head {
    /// One sampling step of every state, whatever their schedules, timesteps and guidance, in shared products.
    ///
    /// # Errors
    /// When a state is finished, noise is missing, the schedule does not exist, or the device fails; then no state has
    /// changed.
    pub fn step(&self, steps: &mut [HeadStep]) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        for step in steps.iter() {
            if step.state.n_left == 0 {
                candle_core::bail!("all head steps are taken");
            }
            if step.noise.len() != step.state.x.len() && !(step.state.is_at_last_step() && step.noise.is_empty()) {
                candle_core::bail!("{} noise values for {}", step.noise.len(), step.state.x.len());
            }
        }
        let timetables = steps.iter().map(|s| self.timetable(s.state.n_steps)).collect::<Result<Vec<_>>>()?;
        let predicted = self.predict_packed(steps, &timetables)?;
        let mut rest = predicted.as_slice();
        for (step, timetable) in steps.iter_mut().zip(&timetables) {
            let (own, others) = rest.split_at(step.state.n_computed_rows() * 2 * LATENT_CHANNELS);
            let at = &timetable.schedule.steps()[step.state.n_left - 1];
            step.state.advance(at, own, step.noise);
            rest = others;
        }
        Ok(())
    }

    /// Takes all remaining steps of one state; `noise` gives the draws `[R, 16]` of a step by its number.
    ///
    /// # Errors
    /// As [`Head::step`].
    pub fn sample(&self, state: &mut HeadState, mut noise: impl FnMut(usize) -> Vec<f32>) -> Result<()> {
        while let Some(number) = state.next_step() {
            let noise = if state.is_at_last_step() { Vec::new() } else { noise(number) };
            self.step(&mut [HeadStep { state, noise: &noise }])?;
        }
        Ok(())
    }

    /// The network on the rows of all states, state after state and branch after branch: `[T, 32]` on the host.
    fn predict_packed(&self, steps: &[HeadStep], timetables: &[std::sync::Arc<Timetable>]) -> Result<Vec<f32>> {
        let mut x = Vec::new();
        let (mut input_rows, mut time_rows) = (Vec::new(), Vec::new());
        for (i, HeadStep { state, .. }) in steps.iter().enumerate() {
            let first = (x.len() / LATENT_CHANNELS) as u32;
            let own = first..first + state.n_rows() as u32;
            (0..state.n_branches).for_each(|_| input_rows.extend(own.clone()));
            time_rows.extend(std::iter::repeat_n(i as u32, state.n_computed_rows()));
            x.extend_from_slice(&state.x);
        }
        let n_rows = x.len() / LATENT_CHANNELS;
        let input = self.project_input(&Tensor::from_vec(x, (n_rows, LATENT_CHANNELS), self.device())?)?;
        let times = steps.iter().zip(timetables).map(|(s, t)| t.embeddings.narrow(0, s.state.n_left - 1, 1));
        let times = Tensor::cat(&times.collect::<Result<Vec<_>>>()?, 0)?;
        let conditions: Vec<&Tensor> = steps.iter().flat_map(|s| &s.state.conditions).collect();
        let conditions = Tensor::cat(&conditions, 0)?;
        let mut predicted = Vec::with_capacity(input_rows.len() * 2 * LATENT_CHANNELS);
        for first in (0..input_rows.len()).step_by(ROWS_PER_PASS) {
            let n = ROWS_PER_PASS.min(input_rows.len() - first);
            let take =
                |t: &Tensor, rows: &[u32]| t.index_select(&Tensor::new(&rows[first..first + n], self.device())?, 0);
            let (input, time) = (take(&input, &input_rows)?, take(&times, &time_rows)?);
            let rows = self.predict(&input, &time, &conditions.narrow(0, first, n)?)?;
            predicted.extend(rows.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(predicted)
    }
}
