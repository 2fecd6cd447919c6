//! The service without a network around it.

use std::sync::Arc;
use std::time::Duration;

use unipic_api::{ApiError, Reason};
use unipic_engine::{Done, Engine, EngineError, JobContext, Lane};
use unipic_models::Handover;
use unipic_models::prompt::{Piece, Prompt, PromptError, PromptTokenizer, Segment};
use unipic_nn::KvCache;
use unipic_telemetry::Metrics;

use crate::metrics::DecoderMetrics;
use crate::parts::{Info, Parts};
use crate::plan::{self, Unit};
use crate::prefix::PrefixCache;
use crate::session::{ProbeSegment, Session};
use crate::worker::{DecoderWorker, Job, Reply, Rows};

/// When to try again after a full queue, or one without memory.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bytes for keys and values of beginnings of prompts where nothing is said: 18,700 positions of the published model in
/// bf16, which are four images of 1024×1024 px.
pub const DEFAULT_PREFIX_BYTES: u64 = 512 << 20;

/// Rows of one prefill job. A long prompt is cut, so that others' probes and tokens get their turn between its pieces; a
/// row's result does not depend on the cut.
pub(crate) const PREFILL_ROWS: usize = 512;

/// A handle on the service. Clones share everything.
#[derive(Clone)]
pub struct Decoder {
    lane: Lane<Job, Reply>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: DecoderMetrics,
}

pub(crate) struct Shared {
    pub(crate) info: Info,
    pub(crate) tokenizer: Arc<PromptTokenizer>,
    pub(crate) prefixes: PrefixCache,
    empty: KvCache,
    /// Where the model computes, for tensors that come from elsewhere.
    pub(crate) device: candle_core::Device,
}

impl Decoder {
    /// Moves the model to the engine's thread. Beginnings of prompts are kept in [`DEFAULT_PREFIX_BYTES`].
    pub fn new(engine: &Engine, parts: Parts) -> Self {
        Self::keeping(engine, parts, DEFAULT_PREFIX_BYTES)
    }

    /// [`Decoder::new`], with so many bytes at most for keys and values of beginnings of prompts; 0 keeps none.
    pub fn keeping(engine: &Engine, parts: Parts, prefix_bytes: u64) -> Self {
        let Parts { model, tokenizer, info } = parts;
        let (empty, device) = (model.new_cache(), model.device().clone());
        let metrics = DecoderMetrics::new(&Metrics::default(), &info.device, info.weight_bytes);
        let shared = Arc::new(Shared { info, tokenizer, prefixes: PrefixCache::new(prefix_bytes), empty, device });
        Self { lane: engine.add_worker(DecoderWorker { model }), shared, metrics }
    }

    /// The same service, counting into `metrics`.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Self {
        let info = self.info();
        Self { metrics: DecoderMetrics::new(metrics, &info.device, info.weight_bytes), ..self }
    }

    /// Sizes of the loaded model.
    pub fn info(&self) -> &Info {
        &self.shared.info
    }

    /// Jobs that wait for the device now.
    pub fn queued(&self) -> usize {
        self.lane.queued()
    }

    /// Prefills prompts and keeps them for probes; hidden states are handed over on the device. What prompts have in
    /// common is computed once.
    ///
    /// # Errors
    /// When a prompt is empty or too long, or the device fails.
    pub async fn open(&self, prompts: Vec<Prompt>, context: &JobContext) -> Result<Session, ApiError> {
        Session::open(self.clone(), prompts, Handover::Device, context).await
    }

    /// [`Decoder::open`] with hidden states handed over as `handover` says.
    ///
    /// # Errors
    /// As [`Decoder::open`].
    pub async fn open_for(
        &self,
        prompts: Vec<Prompt>,
        handover: Handover,
        context: &JobContext,
    ) -> Result<Session, ApiError> {
        Session::open(self.clone(), prompts, handover, context).await
    }

    /// Runs a prompt, a probe and a token once, so that the first request meets a warm device.
    ///
    /// # Errors
    /// When the model cannot compute.
    pub async fn warm_up(&self) -> Result<(), ApiError> {
        let context = JobContext::current();
        let prompt = Prompt { segments: vec![Segment::Template("warm up".into())] };
        let mut session = self.open(vec![prompt], &context).await?;
        let shape = (2, self.info().llm_width);
        let rows = candle_core::Tensor::zeros(shape, candle_core::DType::F32, &self.shared.device);
        let rows = rows.map_err(device_fault)?;
        let segment = ProbeSegment { prompt: 0, first_row: 0, n_rows: 2 };
        session.probe(rows, vec![segment], &context).await.map(drop)
    }

    pub(crate) fn new_cache(&self) -> KvCache {
        self.shared.empty.clone()
    }

    /// The units of prompts, judged; each comes with the field that names it in errors.
    ///
    /// Text of the longest accepted length takes the tokenizer long enough to hold up a thread that serves connections.
    pub(crate) async fn units(&self, prompts: Vec<(String, Prompt)>) -> Result<Vec<Vec<Unit>>, ApiError> {
        let decoder = self.clone();
        let tokenize = move || prompts.iter().map(|(field, prompt)| decoder.units_of(prompt, field)).collect();
        tokio::task::spawn_blocking(tokenize).await.unwrap_or_else(|_| Err(bug("tokenizing panicked")))
    }

    pub(crate) fn units_of(&self, prompt: &Prompt, field: &str) -> Result<Vec<Unit>, ApiError> {
        for segment in &prompt.segments {
            if let Segment::Embeddings(x) = segment {
                self.check_embeddings(x, field)?;
            }
        }
        let pieces: Vec<Piece> = self.shared.tokenizer.tokenize(prompt).map_err(tokenizer_fault)?;
        let units = plan::units(&pieces);
        let (n, room) = (plan::n_positions(&units), self.info().context_length.saturating_sub(1));
        // One position at least is left for what comes behind a prompt: a row of a probe, or a token.
        if n == 0 || n > room {
            let problem = format!("takes {n} positions; 1 to {room} are possible here");
            return Err(ApiError::invalid(field, problem));
        }
        Ok(units)
    }

    fn check_embeddings(&self, x: &candle_core::Tensor, field: &str) -> Result<(), ApiError> {
        let width = self.info().llm_width;
        match x.dims() {
            [n, w] if *n > 0 && *w == width => Ok(()),
            other => Err(ApiError::invalid(field, format!("embeddings of shape {other:?}; [n, {width}] are wanted"))),
        }
    }

    /// Rows of units, in jobs of at most [`PREFILL_ROWS`].
    pub(crate) fn chunks(&self, units: &[Unit]) -> Result<Vec<Vec<Rows>>, ApiError> {
        plan::chunks(units, PREFILL_ROWS).map_err(device_fault)
    }

    pub(crate) async fn run(&self, job: Job, context: &JobContext) -> Result<Done<Reply>, ApiError> {
        let done = self.lane.submit(job, context).await.map_err(|error| {
            if matches!(error, EngineError::Exhausted(_)) {
                // What is kept for later is worth less than work that is asked for now.
                self.shared.prefixes.clear();
            }
            engine_error(error)
        })?;
        if !done.reply.finite {
            return Err(ApiError::Fault(Reason::NonFinite));
        }
        Ok(done)
    }
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

/// A tensor operation outside the device's thread failed.
pub(crate) fn device_fault(error: candle_core::Error) -> ApiError {
    tracing::error!(%error, "a tensor operation failed");
    ApiError::Fault(Reason::DeviceFault)
}

fn tokenizer_fault(error: PromptError) -> ApiError {
    tracing::error!(%error, "the tokenizer failed");
    ApiError::Fault(Reason::Bug)
}

/// A reply does not fit its job.
pub(crate) fn bug(what: &str) -> ApiError {
    tracing::error!(what, "the device's thread broke a rule");
    ApiError::Fault(Reason::Bug)
}
