//! Training the autoencoder: reconstruction of pictures, and a posterior near the unit normal.
//!
//! Pictures are cut to small squares at first: whole pictures are mostly background, and their middle costs as much as
//! their edges. The norms and the attention in the middle see the whole image, though, so the last stage is on whole ones.

use candle_core::{Device, Tensor};
use unipic_imaging::Rgb8;
use unipic_models::vae;
use unipic_nn::Ops;
use unipic_weights::Part;
use unipic_weights::config::{ModelConfig, VaeConfig};

use super::{Share, Sums, Task, gradients};
use crate::TrainError;
use crate::data::Source;
use crate::draws::{Purpose, draws, normal};
use crate::parameters::Parameters;
use crate::pixels::{grid, picture, pixels};
use crate::recipe::{Autoencoder, Recipe, Stage};

/// A stage of this kind.
pub(crate) struct AutoencoderTask<'a> {
    stage: &'a Stage,
    settings: &'a Autoencoder,
    /// The run's seed and the stage's number.
    seed: (u64, usize),
    source: Source,
    parameters: &'a Parameters,
    encoder: vae::Encoder,
    decoder: vae::Decoder,
    stride: usize,
    channels: usize,
}

impl<'a> AutoencoderTask<'a> {
    /// Builds the autoencoder over the parameters.
    ///
    /// # Errors
    /// When tensors are missing or the sizes do not fit.
    pub(crate) fn new(
        stage: &'a Stage,
        settings: &'a Autoencoder,
        seed: (u64, usize),
        parameters: &'a Parameters,
        config: &VaeConfig,
    ) -> Result<Self, TrainError> {
        let stride = config.stride();
        let build = parameters.build(Ops::Training, &[Part::Vae]);
        Ok(Self {
            stage,
            settings,
            seed,
            source: Source::open(stage, seed)?,
            parameters,
            encoder: vae::Encoder::load(&build, config)?,
            decoder: vae::Decoder::load(&build, config)?,
            stride,
            channels: config.z_channels,
        })
    }

    /// The factor that brings the posterior means of drawn pictures to unit deviation, so that the diffusion head meets
    /// latents of the size of its noise.
    ///
    /// # Errors
    /// When the model fails.
    pub(crate) fn measure_scale(
        recipe: &Recipe,
        number: usize,
        parameters: &Parameters,
        config: &ModelConfig,
    ) -> Result<f64, TrainError> {
        const PICTURES: u64 = 256;
        let stage = &recipe.stages[number];
        let Some(settings) = &stage.autoencoder else { return Ok(config.vae.scale) };
        let task = AutoencoderTask::new(stage, settings, (recipe.seed, number), parameters, &config.vae)?;
        let (mut sum, mut square, mut n) = (0.0, 0.0, 0.0);
        for index in 0..PICTURES {
            let x = pixels(&[task.picture(index)?], parameters.device())?;
            let mean = task.encoder.moments(&x)?.narrow(1, 0, task.channels)?;
            for value in crate::optimizer::values(&mean)? {
                let value = f64::from(value);
                (sum, square, n) = (sum + value, square + value * value, n + 1.0);
            }
        }
        let variance = square / n - (sum / n).powi(2);
        Ok(variance.max(1e-12).sqrt().recip())
    }

    /// The square cut out of a sample's picture.
    fn picture(&self, index: u64) -> Result<Rgb8, TrainError> {
        let Autoencoder { resolution, crop, .. } = *self.settings;
        let whole = self.source.picture(index, resolution)?;
        if crop == resolution {
            return Ok(whole);
        }
        let mut draws = draws(self.seed, (Purpose::Cut, 0), index);
        let n = (resolution - crop) / self.stride + 1;
        let (x, y) = (draws.below(n) * self.stride, draws.below(n) * self.stride);
        let rows = (y..y + crop).flat_map(|row| &whole.data[(row * resolution + x) * 3..][..crop * 3]);
        Ok(Rgb8 { width: crop as u32, height: crop as u32, data: rows.copied().collect() })
    }

    /// Noise of the posterior's sample, `[n, 16, m, m]`.
    fn noise(&self, indices: &[u64], side: usize) -> Result<Tensor, TrainError> {
        let n = self.channels * side * side;
        let mut values = Vec::with_capacity(indices.len() * n);
        for &index in indices {
            let mut draws = draws(self.seed, (Purpose::Posterior, 0), index);
            values.extend((0..n).map(|_| normal(&mut draws)));
        }
        let shape = (indices.len(), self.channels, side, side);
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(self.parameters.device())?)
    }

    fn indices(&self, step: usize, share: usize) -> Vec<u64> {
        let first = share * self.stage.micro_batch;
        let last = (first + self.stage.micro_batch).min(self.stage.batch);
        (first..last).map(|i| (step * self.stage.batch + i) as u64).collect()
    }
}

/// The mean absolute step between neighbours, across and down, of `[n, 3, h, w]`; scalar.
fn steps(x: &Tensor) -> candle_core::Result<Tensor> {
    let step = |dim: usize| {
        let n = x.dim(dim)? - 1;
        (x.narrow(dim, 1, n)? - x.narrow(dim, 0, n)?)?.abs()?.mean_all()
    };
    (step(2)? + step(3)?)? * 0.5
}

impl Task for AutoencoderTask<'_> {
    fn n_shares(&self) -> usize {
        self.stage.batch.div_ceil(self.stage.micro_batch)
    }

    fn share(&self, step: usize, share: usize) -> Result<Share, TrainError> {
        let indices = self.indices(step, share);
        let pictures: Vec<Rgb8> = indices.iter().map(|&index| self.picture(index)).collect::<Result<_, _>>()?;
        let x = pixels(&pictures, self.parameters.device())?;
        let moments = self.encoder.moments(&x)?;
        let moments = if self.settings.decoder_only { moments.detach() } else { moments };
        let mean = moments.narrow(1, 0, self.channels)?;
        let log_variance = moments.narrow(1, self.channels, self.channels)?.clamp(-30.0, 20.0)?;
        let noise = self.noise(&indices, self.settings.crop / self.stride)?;
        let z = (&mean + ((&log_variance * 0.5)?.exp()? * noise)?)?;
        let error = (self.decoder.render(&z)? - &x)?;
        let (absolute, square) = (error.abs()?.mean_all()?, error.sqr()?.mean_all()?);
        let kl = ((mean.sqr()? + log_variance.exp()?)? - (&log_variance + 1.0)?)?.mean_all()?;
        let kl = (kl * 0.5)?;
        let n = indices.len() as f64;
        let mut loss = ((&absolute + &square)? + (&kl * self.settings.kl)?)?;
        if self.settings.edges > 0.0 {
            loss = (loss + (steps(&error)? * self.settings.edges)?)?;
        }
        let share = (loss * (n / self.stage.batch as f64))?;
        let scalar = |x: &Tensor| -> Result<f64, TrainError> { Ok(f64::from(x.detach().to_scalar::<f32>()?)) };
        let losses: Sums = [("absolute", &absolute), ("square", &square), ("kl", &kl)]
            .into_iter()
            .map(|(name, x)| Ok((name, (scalar(x)? * n, n))))
            .collect::<Result<_, TrainError>>()?;
        let gradients = gradients(&share, self.parameters.of_parts(&[Part::Vae]))?;
        Ok(Share { gradients, losses })
    }

    fn source(&self) -> &Source {
        &self.source
    }

    fn describe(&self, step: usize) -> serde_json::Value {
        let samples = (0..self.n_shares()).flat_map(|share| self.indices(step, share));
        samples.map(|slot| serde_json::json!({ "slot": slot, "picture": self.source.named(slot) })).collect()
    }

    /// Pictures above their reconstructions.
    fn sheet(&self, step: usize) -> Result<Option<Rgb8>, TrainError> {
        const SHOWN: u64 = 8;
        let first = (step * self.stage.batch) as u64;
        let pictures: Vec<Rgb8> = (first..first + SHOWN).map(|index| self.picture(index)).collect::<Result<_, _>>()?;
        let mean = self.encoder.moments(&pixels(&pictures, self.parameters.device())?)?.narrow(1, 0, self.channels)?;
        let drawn = self.decoder.render(&mean.detach())?;
        let drawn = (0..SHOWN as usize).map(|i| picture(&drawn.get(i)?)).collect::<Result<Vec<_>, TrainError>>()?;
        Ok(Some(grid(&[pictures, drawn].concat(), SHOWN as usize)))
    }
}
