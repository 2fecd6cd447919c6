//! What runs on the device's thread: five kinds of jobs, each batched with its own kind.

use candle_core::{DType, Device, Result, Tensor};
use unipic_engine::{Computed, Exhausted, Follow, JobError, Worker};
use unipic_models::Handover;
use unipic_models::diffusion::{HeadState, HeadStep};
use unipic_models::generation::{DecodeInput, Decoded, EncodeInput, Encoded, HeadNoise, Source};
use unipic_models::vae;
use unipic_nn::is_out_of_memory;

use super::Parts;
use crate::image::RgbImage;

/// A step of a request.
pub(crate) enum Job {
    /// The source image of an edit, or an image to understand.
    Image { image: RgbImage, handover: Handover },
    /// The known places of a request's images.
    Encode { inputs: Vec<EncodeInput>, handover: Handover },
    /// Conditions of the places that an iteration reveals.
    Decode { inputs: Vec<DecodeInput> },
    /// The sampling steps that a request's rows have left, one at a time.
    Head { state: HeadState, noise: HeadNoise },
    /// One image, from its latents `[m, n, 16]` on the host.
    Vae { latents: Tensor },
}

/// What a step yields.
pub(crate) enum Reply {
    /// None when an embedding is not finite.
    Image(Option<Source>),
    /// The encodings, and the language model's rows `[images·(K + V), H]` for one branch.
    Encode(Vec<Encoded>, Tensor),
    Decode(Vec<Decoded>),
    Head {
        state: HeadState,
        noise: HeadNoise,
    },
    /// RGB bytes; none when a pixel is not finite.
    Vae(Option<Vec<u8>>),
}

impl Job {
    /// Equal numbers share a pass.
    fn kind(&self) -> u32 {
        match self {
            Self::Image { .. } => 0,
            Self::Encode { .. } => 1,
            Self::Decode { .. } => 2,
            Self::Head { .. } => 3,
            Self::Vae { .. } => 4,
        }
    }
}

/// The device thread's side of the service.
pub(crate) struct SynthesisWorker {
    parts: Parts,
}

impl SynthesisWorker {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts }
    }
}

impl Worker for SynthesisWorker {
    type Job = Job;
    type Reply = Reply;

    fn tokens(&self, job: &Job) -> usize {
        let n_buffers = self.parts.info.n_buffers;
        match job {
            // Memory, not arithmetic, bounds these: whole images run alone.
            Job::Image { .. } | Job::Vae { .. } => usize::MAX,
            Job::Encode { inputs, .. } => inputs.iter().map(|i| n_buffers + i.places.len()).sum(),
            Job::Decode { inputs } => inputs.iter().map(|i| n_buffers + i.grid.n_places()).sum(),
            Job::Head { state, .. } => state.n_computed_rows(),
        }
    }

    fn kind(&self, job: &Job) -> u32 {
        job.kind()
    }

    fn kind_name(&self, kind: u32) -> &'static str {
        ["image", "encode", "decode", "head", "vae"].get(kind as usize).copied().unwrap_or("job")
    }

    fn follow(&mut self, reply: Reply) -> Follow<Job, Reply> {
        match reply {
            Reply::Head { state, noise } if state.next_step().is_some() => Follow::Again(Job::Head { state, noise }),
            reply => Follow::Answer(reply),
        }
    }

    fn run(&mut self, jobs: Vec<Job>) -> Computed<Job, Reply> {
        if let [Job::Head { .. }, ..] = jobs[..] {
            return self.head_steps(jobs);
        }
        if let ([Job::Encode { .. }, ..], 2..) | ([Job::Decode { .. }, ..], 2..) = (&jobs[..], jobs.len()) {
            match self.packed(&jobs) {
                Ok(replies) => return Ok(replies.into_iter().map(Ok).collect()),
                Err(error) if is_out_of_memory(&error) => return Err(Exhausted { jobs, reason: error.to_string() }),
                // One request's bad values must not fail the others: each runs alone then.
                Err(error) => tracing::warn!(%error, jobs = jobs.len(), "a shared pass failed"),
            }
        }
        Ok(jobs.into_iter().map(|job| self.alone(job).map_err(failed)).collect())
    }
}

fn failed(error: candle_core::Error) -> JobError {
    if is_out_of_memory(&error) { JobError::exhausted(error) } else { JobError::new(error) }
}

impl SynthesisWorker {
    fn alone(&self, job: Job) -> Result<Reply> {
        match job {
            Job::Image { image, handover } => self.image(&image, handover),
            Job::Encode { inputs, handover } => {
                let encoded = self.parts.model.encode(&inputs)?;
                let rows = language_rows(&encoded, handover)?;
                Ok(Reply::Encode(encoded, rows))
            }
            Job::Decode { inputs } => Ok(Reply::Decode(self.parts.model.decode(&self.on_device(inputs)?)?)),
            Job::Head { mut state, noise } => {
                let drawn = drawn(&state, &noise)?;
                self.parts.model.head.step(&mut [HeadStep { state: &mut state, noise: &drawn }])?;
                Ok(Reply::Head { state, noise })
            }
            Job::Vae { latents } => self.pixels(&latents),
        }
    }

    /// Several requests' encodings or decodings in one pass.
    fn packed(&self, jobs: &[Job]) -> Result<Vec<Reply>> {
        let encode = |job: &Job| match job {
            Job::Encode { inputs, .. } => inputs.clone(),
            _ => Vec::new(),
        };
        let inputs: Vec<EncodeInput> = jobs.iter().flat_map(encode).collect();
        if inputs.is_empty() {
            return self.packed_decode(jobs);
        }
        let mut encoded = self.parts.model.encode(&inputs)?.into_iter();
        let own = |job: &Job| match job {
            Job::Encode { inputs, handover } => {
                let own: Vec<Encoded> = encoded.by_ref().take(inputs.len()).collect();
                let rows = language_rows(&own, *handover)?;
                Ok(Reply::Encode(own, rows))
            }
            _ => candle_core::bail!("a batch of different kinds"),
        };
        jobs.iter().map(own).collect()
    }

    fn packed_decode(&self, jobs: &[Job]) -> Result<Vec<Reply>> {
        let of = |job: &Job| match job {
            Job::Decode { inputs } => inputs.clone(),
            _ => Vec::new(),
        };
        let counts: Vec<usize> = jobs.iter().map(|job| of(job).len()).collect();
        let inputs: Vec<DecodeInput> = jobs.iter().flat_map(of).collect();
        let mut decoded = self.parts.model.decode(&self.on_device(inputs)?)?.into_iter();
        Ok(counts.into_iter().map(|n| Reply::Decode(decoded.by_ref().take(n).collect())).collect())
    }

    /// Rows of all requests, each at its own timestep, in one pass.
    fn head_steps(&self, jobs: Vec<Job>) -> Computed<Job, Reply> {
        let own = |job| match job {
            Job::Head { state, noise } => Some((state, noise)),
            _ => None,
        };
        let mut rows: Vec<(HeadState, HeadNoise)> = jobs.into_iter().filter_map(own).collect();
        let drawn: Result<Vec<Vec<f32>>> = rows.iter().map(|(state, noise)| drawn(state, noise)).collect();
        let stepped = drawn.and_then(|drawn| {
            let steps = rows.iter_mut().zip(&drawn).map(|((state, _), noise)| HeadStep { state, noise });
            self.parts.model.head.step(&mut steps.collect::<Vec<_>>())
        });
        if let Err(error) = stepped {
            // No state has changed then, so they can be tried again.
            let mut jobs = rows.into_iter().map(|(state, noise)| Job::Head { state, noise });
            if is_out_of_memory(&error) {
                return Err(Exhausted { jobs: jobs.collect(), reason: error.to_string() });
            }
            tracing::warn!(%error, jobs = jobs.len(), "a head step failed");
            return Ok(jobs.by_ref().map(|job| self.alone(job).map_err(failed)).collect());
        }
        Ok(rows.into_iter().map(|(state, noise)| Ok(Reply::Head { state, noise })).collect())
    }

    /// Autoencoder, then MAR's encoder with nothing masked.
    fn image(&self, image: &RgbImage, handover: Handover) -> Result<Reply> {
        let pixels = vae::pixels_from_u8(&image.rgb, image.width, image.height, self.device())?;
        let latents = self.parts.vae_encoder.encode(&pixels)?.squeeze(0)?;
        let mut source = self.parts.model.source(&latents)?;
        source.z_full = handover.apply(&source.z_full)?;
        Ok(Reply::Image(is_finite(&source.z_full)?.then_some(source)))
    }

    fn pixels(&self, latents: &Tensor) -> Result<Reply> {
        let latents = latents.to_device(self.device())?.unsqueeze(0)?;
        let pixels = self.parts.vae_decoder.decode(&latents)?.squeeze(0)?;
        // Clamping would turn a value that is not finite into an honest-looking colour.
        if !is_finite(&pixels)? {
            return Ok(Reply::Vae(None));
        }
        Ok(Reply::Vae(Some(vae::pixels_to_u8(&pixels)?)))
    }

    fn device(&self) -> &Device {
        self.parts.model.device()
    }

    /// Hidden states that came over the wire lie on the host, in f32.
    fn on_device(&self, mut inputs: Vec<DecodeInput>) -> Result<Vec<DecodeInput>> {
        for input in &mut inputs {
            input.hidden = input.hidden.to_device(self.device())?.to_dtype(input.x_enc.dtype())?;
        }
        Ok(inputs)
    }
}

/// The noise of a state's next step.
fn drawn(state: &HeadState, noise: &HeadNoise) -> Result<Vec<f32>> {
    let step = state.next_step().unwrap_or(0);
    noise.of(step).map_err(candle_core::Error::wrap)
}

/// Every image's rows for the language model, image after image.
fn language_rows(encoded: &[Encoded], handover: Handover) -> Result<Tensor> {
    let rows: Vec<&Tensor> = encoded.iter().map(|e| &e.z_enc).collect();
    handover.apply(&Tensor::cat(&rows, 0)?)
}

/// Whether all values are finite: one that is not makes the sum so.
fn is_finite(x: &Tensor) -> Result<bool> {
    Ok(x.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?.is_finite())
}
