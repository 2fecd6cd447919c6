//! The network of the diffusion head: an MLP whose every block is modulated by timestep and condition.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Tensor};
use unipic_nn::activation::{Function, add, gate, modulate, silu};
use unipic_nn::{Build, LayerNorm, Linear, Ops, Shares};
use unipic_weights::config::MarConfig;

use super::schedule::Schedule;
use crate::mar::LATENT_CHANNELS;

/// Sinusoids of a timestep, half of them cosines.
const TIME_FREQUENCIES: usize = 256;
const MAX_PERIOD: f64 = 10_000.0;

/// Rows that stay together when they are shared out to the processors.
const TOGETHER: usize = 4;

/// Step counts whose schedule and timestep embeddings are kept. Users choose the count, so the cache needs a bound.
const CACHED_SCHEDULES: usize = 8;

/// The network (model page, section 6).
#[derive(Clone, Debug)]
pub struct Head {
    input: Linear,
    condition: Linear,
    time_in: Linear,
    time_out: Linear,
    modulation: Modulation,
    blocks: Vec<ResidualBlock>,
    final_norm: LayerNorm,
    output: Linear,
    width: usize,
    dtype: DType,
    device: Device,
    ops: Ops,
    shares: Shares,
    /// Oldest first. Behind a mutex because models are shared between threads.
    timetables: Arc<Mutex<VecDeque<Arc<Timetable>>>>,
}

/// A schedule with the head's embeddings of its timesteps.
#[derive(Debug)]
pub struct Timetable {
    /// The schedule.
    pub schedule: Schedule,
    /// `[S, width]`: row k embeds the timestep of respaced step k.
    pub embeddings: Tensor,
}

#[derive(Clone, Debug)]
struct ResidualBlock {
    norm: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
}

/// The adaLN layers of all blocks and of the final layer. They all read the same SiLU(y).
#[derive(Clone, Debug)]
enum Modulation {
    /// As one matrix product.
    Joint(Linear),
    /// One by one, as the checkpoint has them, so that each keeps its gradient.
    Separate(Vec<Linear>),
}

impl Modulation {
    /// Loads blocks (shift, scale and gate) and the final layer (shift and scale) in this order.
    fn load(net: &Build, depth: usize, width: usize) -> Result<Self> {
        let of_block = |i: usize| (net.pp(format!("res_blocks.{i}.adaLN_modulation.1")), 3 * width);
        let places = (0..depth).map(of_block);
        let places: Vec<_> = places.chain([(net.pp("final_layer.adaLN_modulation.1"), 2 * width)]).collect();
        if net.ops.is_differentiable() {
            let layers = places.iter().map(|(place, n_out)| Linear::load(place, width, *n_out));
            return Ok(Self::Separate(layers.collect::<Result<_>>()?));
        }
        let weights = places.iter().map(|(p, n_out)| p.get((*n_out, width), "weight")).collect::<Result<Vec<_>>>()?;
        let biases = places.iter().map(|(p, n_out)| p.get(*n_out, "bias")).collect::<Result<Vec<_>>>()?;
        let joint = Linear::from_weight(net, Tensor::cat(&weights, 0)?, Some(Tensor::cat(&biases, 0)?))?;
        Ok(Self::Joint(joint))
    }

    /// `[T, width]` → for every block `[T, 3·width]` (shift, scale, gate), then `[T, 2·width]` for the final layer.
    fn forward(&self, y: &Tensor, (depth, width): (usize, usize)) -> Result<Vec<Tensor>> {
        match self {
            Self::Joint(layer) => {
                let all = layer.forward(y)?;
                let columns = |i: usize| if i < depth { 3 * width } else { 2 * width };
                (0..=depth).map(|i| all.narrow(1, 3 * i * width, columns(i))).collect()
            }
            Self::Separate(layers) => layers.iter().map(|l| l.forward(y)).collect(),
        }
    }
}

impl Head {
    /// Loads the head; `build` stands at the root of the checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, config: &MarConfig) -> Result<Self> {
        let (net, width) = (build.pp("mar.diffloss.net"), config.diffloss_w);
        let block = |i: usize| {
            let place = net.pp(format!("res_blocks.{i}"));
            Ok(ResidualBlock {
                norm: LayerNorm::load(&place.pp("in_ln"), width, config.layer_norm_eps)?,
                mlp_in: Linear::load(&place.pp("mlp.0"), width, width)?,
                mlp_out: Linear::load(&place.pp("mlp.2"), width, width)?,
            })
        };
        Ok(Self {
            input: Linear::load(&net.pp("input_proj"), LATENT_CHANNELS, width)?,
            condition: Linear::load(&net.pp("cond_embed"), config.embed_dim, width)?,
            time_in: Linear::load(&net.pp("time_embed.mlp.0"), TIME_FREQUENCIES, width)?,
            time_out: Linear::load(&net.pp("time_embed.mlp.2"), width, width)?,
            modulation: Modulation::load(&net, config.diffloss_d, width)?,
            blocks: (0..config.diffloss_d).map(block).collect::<Result<_>>()?,
            final_norm: LayerNorm::without_affine(net.ops, config.layer_norm_eps),
            output: Linear::load(&net.pp("final_layer.linear"), width, 2 * LATENT_CHANNELS)?,
            width,
            dtype: net.tensors.dtype(),
            device: net.device().clone(),
            ops: net.ops,
            // Of each block: two layers and the modulation's three parts.
            shares: Shares::new(&net, (5 * config.diffloss_d + 2) * width * width),
            timetables: Arc::default(),
        })
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Embeds timesteps of the full schedule; the sinusoids are taken in f32, as the published implementation does.
    ///
    /// Shapes: `[T]` → `[T, width]`.
    ///
    /// # Errors
    /// When the device refuses the tensors.
    pub fn embed_timesteps(&self, timesteps: &[usize]) -> Result<Tensor> {
        let half = TIME_FREQUENCIES / 2;
        let frequency = |i: usize| (-(MAX_PERIOD.ln() as f32) * i as f32 / half as f32).exp();
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let row = |&t: &usize| {
            let angles = frequencies.iter().map(move |f| t as f32 * f);
            angles.clone().map(f32::cos).chain(angles.map(f32::sin))
        };
        let rows: Vec<f32> = timesteps.iter().flat_map(row).collect();
        let rows = Tensor::from_vec(rows, (timesteps.len(), TIME_FREQUENCIES), &self.device)?.to_dtype(self.dtype)?;
        self.time_out.forward(&self.time_in.forward_then(&rows, Function::Silu)?)
    }

    /// Embeds the decoder's conditions; the same for all steps of a row.
    ///
    /// Shapes: z `[T, D]` → `[T, width]`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn embed_condition(&self, z: &Tensor) -> Result<Tensor> {
        self.condition.forward(&z.to_dtype(self.dtype)?)
    }

    /// Projects noisy latents; with guidance the same for both branches of a row.
    ///
    /// Shapes: `[T, 16]` → `[T, width]`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn project_input(&self, x: &Tensor) -> Result<Tensor> {
        self.input.forward(&x.to_dtype(self.dtype)?)
    }

    /// Everything behind the three embeddings.
    ///
    /// Shapes: `input`, `time` and `condition` `[T, width]` each → f32 `[T, 32]`: the noise, then the interpolation between
    /// the smallest and largest log-variance.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn predict(&self, input: &Tensor, time: &Tensor, condition: &Tensor) -> Result<Tensor> {
        // Rows need nothing of each other, so they may be divided anywhere.
        let n_rows = input.dim(0)?;
        let mut first_rows: Vec<usize> = (0..n_rows).step_by(TOGETHER).collect();
        let n_together = |first: &usize| TOGETHER.min(n_rows - first);
        self.shares.run(&mut first_rows, n_together, input, |first_rows, input| {
            let (first, n) = (first_rows.first().copied().unwrap_or(0), input.dim(0)?);
            self.predict_share(input, &time.narrow(0, first, n)?, &condition.narrow(0, first, n)?)
        })
    }

    fn predict_share(&self, input: &Tensor, time: &Tensor, condition: &Tensor) -> Result<Tensor> {
        let sizes = (self.blocks.len(), self.width);
        let modulation = self.modulation.forward(&silu(&add(time, condition)?)?, sizes)?;
        let mut x = input.clone();
        for (block, modulation) in self.blocks.iter().zip(&modulation) {
            let h = modulate(&block.norm.forward(&x)?, modulation)?;
            let h = block.mlp_out.forward(&block.mlp_in.forward_then(&h, Function::Silu)?)?;
            x = gate(&x, &h, modulation)?;
        }
        let x = modulate(&self.final_norm.forward(&x)?, &modulation[sizes.0])?;
        self.output.forward(&x)?.to_dtype(DType::F32)
    }

    /// The whole network, for training: one timestep of the full schedule per row.
    ///
    /// Shapes: `x` `[T, 16]`, `timesteps` `[T]`, `z` `[T, D]` → f32 `[T, 32]`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor, timesteps: &[usize], z: &Tensor) -> Result<Tensor> {
        let time = self.embed_timesteps(timesteps)?;
        self.predict(&self.project_input(x)?, &time, &self.embed_condition(z)?)
    }

    /// The schedule of `n_steps` with its timestep embeddings, computed once per step count.
    ///
    /// # Errors
    /// When there is no such schedule or the device refuses the tensors.
    pub fn timetable(&self, n_steps: usize) -> Result<Arc<Timetable>> {
        // While training the embedding's weights change from step to step.
        if self.ops.is_differentiable() {
            return self.new_timetable(n_steps);
        }
        let mut known = self.timetables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(timetable) = known.iter().find(|t| t.schedule.steps().len() == n_steps) {
            return Ok(timetable.clone());
        }
        let timetable = self.new_timetable(n_steps)?;
        if known.len() == CACHED_SCHEDULES {
            known.pop_front();
        }
        known.push_back(timetable.clone());
        Ok(timetable)
    }

    fn new_timetable(&self, n_steps: usize) -> Result<Arc<Timetable>> {
        let Some(schedule) = Schedule::respaced(n_steps) else {
            candle_core::bail!("no schedule of {n_steps} head steps")
        };
        let timesteps: Vec<usize> = schedule.steps().iter().map(|s| s.timestep).collect();
        Ok(Arc::new(Timetable { embeddings: self.embed_timesteps(&timesteps)?, schedule }))
    }
}
