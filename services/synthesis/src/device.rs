//! The service's side of the device: typed calls that wait for the device's thread.

mod parts;
mod worker;

use std::time::Duration;

use candle_core::Tensor;
use unipic_api::status::{ApiError, Reason};
use unipic_engine::{Done, Engine, EngineError, JobContext, Lane};
use unipic_models::Handover;
use unipic_models::diffusion::HeadState;
use unipic_models::generation::{DecodeInput, Decoded, EncodeInput, Encoded, HeadNoise, Source};

pub use parts::{Info, LoadPartsError, PARTS, Parts};
use worker::{Job, Reply, SynthesisWorker};

use crate::image::RgbImage;

/// When to try again after a full queue, or one without memory.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A handle on the parts on their thread.
#[derive(Clone)]
pub(crate) struct Device {
    lane: Lane<Job, Reply>,
}

impl Device {
    pub(crate) fn start(engine: &Engine, parts: Parts) -> Self {
        Self { lane: engine.add_worker(SynthesisWorker::new(parts)) }
    }

    /// Jobs that wait now.
    pub(crate) fn queued(&self) -> usize {
        self.lane.queued()
    }

    /// An image with nothing masked.
    pub(crate) async fn image(
        &self,
        image: RgbImage,
        handover: Handover,
        context: &JobContext,
    ) -> Result<Done<Source>, ApiError> {
        let take = |reply| match reply {
            Reply::Image(source) => Some(source),
            _ => None,
        };
        let Done { reply, queued, ran } = self.run(Job::Image { image, handover }, context, take).await?;
        let reply = reply.ok_or(ApiError::Fault(Reason::NonFinite))?;
        Ok(Done { reply, queued, ran })
    }

    /// Known places; the tensor is the language model's rows of one branch, `[images·(K + V), H]`.
    pub(crate) async fn encode(
        &self,
        inputs: Vec<EncodeInput>,
        handover: Handover,
        context: &JobContext,
    ) -> Result<Done<(Vec<Encoded>, Tensor)>, ApiError> {
        let take = |reply| match reply {
            Reply::Encode(encoded, rows) => Some((encoded, rows)),
            _ => None,
        };
        self.run(Job::Encode { inputs, handover }, context, take).await
    }

    pub(crate) async fn decode(
        &self,
        inputs: Vec<DecodeInput>,
        context: &JobContext,
    ) -> Result<Done<Vec<Decoded>>, ApiError> {
        let take = |reply| match reply {
            Reply::Decode(decoded) => Some(decoded),
            _ => None,
        };
        self.run(Job::Decode { inputs }, context, take).await
    }

    /// All steps that the state has left.
    pub(crate) async fn head(
        &self,
        state: HeadState,
        noise: HeadNoise,
        context: &JobContext,
    ) -> Result<Done<HeadState>, ApiError> {
        let take = |reply| match reply {
            Reply::Head { state, .. } => Some(state),
            _ => None,
        };
        self.run(Job::Head { state, noise }, context, take).await
    }

    /// RGB bytes of latents `[m, n, 16]`.
    pub(crate) async fn pixels(&self, latents: Tensor, context: &JobContext) -> Result<Done<Vec<u8>>, ApiError> {
        let take = |reply| match reply {
            Reply::Vae(pixels) => Some(pixels),
            _ => None,
        };
        let Done { reply, queued, ran } = self.run(Job::Vae { latents }, context, take).await?;
        let reply = reply.ok_or(ApiError::Fault(Reason::NonFinite))?;
        Ok(Done { reply, queued, ran })
    }

    async fn run<T>(
        &self,
        job: Job,
        context: &JobContext,
        take: impl FnOnce(Reply) -> Option<T>,
    ) -> Result<Done<T>, ApiError> {
        let Done { reply, queued, ran } = self.lane.submit(job, context).await.map_err(engine_error)?;
        let reply = take(reply).ok_or(ApiError::Fault(Reason::Bug))?;
        Ok(Done { reply, queued, ran })
    }
}

/// What a caller is told when the device did not answer; the cause of a fault goes to the log only.
pub(crate) fn engine_error(error: EngineError) -> ApiError {
    match error {
        EngineError::Full => ApiError::Overloaded { reason: Reason::QueueFull, retry_after: RETRY_AFTER },
        EngineError::Exhausted(cause) => {
            tracing::warn!(cause, "the device has no memory for a job");
            ApiError::Overloaded { reason: Reason::DeviceMemory, retry_after: RETRY_AFTER }
        }
        EngineError::Cancelled => ApiError::Cancelled,
        EngineError::DeadlineExceeded => ApiError::DeadlineExceeded,
        EngineError::Closed => ApiError::unavailable(Reason::Draining),
        EngineError::Fault(cause) => {
            tracing::error!(cause, "the device failed");
            ApiError::Fault(Reason::DeviceFault)
        }
    }
}
