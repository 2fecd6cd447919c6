//! The service without a network around it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candle_core::Tensor;
use tonic::Code;
use unipic_api::status::{ApiError, Reason};
use unipic_engine::{Done, Engine, EngineError, JobContext, Lane};
use unipic_engine_metrics::{DeviceMemory, Held};
use unipic_models::Handover;
use unipic_telemetry::Metrics;
use unipic_telemetry::metrics::Raised;

use crate::encoder::{EncodeWorker, Info, Job, Parts};

/// When to try again after a full queue, or one without memory.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A handle on the service. Clones share everything.
#[derive(Clone)]
pub struct Understanding {
    lane: Lane<Job, Option<Tensor>>,
    info: Arc<Info>,
    /// Counts the weights.
    _held: Option<Arc<Raised>>,
}

impl Understanding {
    /// Moves the parts to the engine's thread.
    pub fn new(engine: &Engine, parts: Parts) -> Self {
        let info = Arc::new(parts.info().clone());
        Self { lane: engine.add_worker(EncodeWorker(parts)), info, _held: None }
    }

    /// The same service, counting what it holds into `metrics`.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Self {
        let memory = DeviceMemory::new(metrics, &self.info.device, &[Held::Weights]);
        let held = memory.holds(Held::Weights, self.info.weight_bytes);
        Self { _held: Some(Arc::new(held)), ..self }
    }

    /// Sizes of the loaded encoder.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Embeddings of an RGB image `[S, S, 3]` of bytes, S the encoder's side: `[n_tokens, H]`. Images of several callers
    /// share a pass; none of them sees another.
    ///
    /// # Errors
    /// When the image has another size, the checkpoint has no encoder, the queue is full or the device fails.
    pub async fn encode(&self, rgb: Bytes, handover: Handover, context: &JobContext) -> Result<Done<Tensor>, ApiError> {
        if !self.info.available {
            return Err(unavailable());
        }
        let side = self.info.image_size;
        if rgb.len() != 3 * side * side {
            return Err(ApiError::invalid("frame", format!("{} bytes; {side}×{side} px RGB are wanted", rgb.len())));
        }
        let Done { reply, queued, ran } =
            self.lane.submit(Job { rgb, handover }, context).await.map_err(engine_error)?;
        let reply = reply.ok_or(ApiError::Fault(Reason::NonFinite))?;
        Ok(Done { reply, queued, ran })
    }

    /// Encodes a grey image, so that the first request meets a warm device.
    ///
    /// # Errors
    /// When the model cannot compute.
    pub async fn warm_up(&self) -> Result<(), ApiError> {
        if !self.info.available {
            return Ok(());
        }
        let grey = vec![127; 3 * self.info.image_size.pow(2)];
        self.encode(grey.into(), Handover::Host, &JobContext::current()).await.map(drop)
    }
}

/// The checkpoint cannot do this; no retry will help.
pub(crate) fn unavailable() -> ApiError {
    let message = "the checkpoint has no siglip2_proj tensors: use the MAR path".into();
    ApiError::Other { code: Code::FailedPrecondition, message }
}

/// What a caller is told when the device did not answer; the cause of a fault goes to the log only.
fn engine_error(error: EngineError) -> ApiError {
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
