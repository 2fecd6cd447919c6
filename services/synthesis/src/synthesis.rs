//! The service without a network around it: what the gRPC adapter and the single-process node both call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use candle_core::Tensor;
use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{Instrument, info_span};
use unipic_api::status::{ApiError, Reason};
use unipic_client::{RetryBudget, RetryPolicy};
use unipic_engine::{Engine, JobContext};
use unipic_models::Handover;
use unipic_models::generation::{Generation, Settings};
use unipic_models::mar::ImageGrid;
use unipic_telemetry::Metrics;

use crate::device::{Device, Info, Parts, RETRY_AFTER};
use crate::drive::{Drive, generation_error, tensor_error};
use crate::event::{SynthesisEvent, Timings};
use crate::image::RgbImage;
use crate::language::LanguageModel;
use crate::metrics::SynthesisMetrics;
use crate::spec::{Bounds, SynthesisSpec};

/// Events that may wait for a caller; the loop waits for one that does not listen.
const WAITING_EVENTS: usize = 4;

/// The service: images from prompts, with a language model of type `L`. Clones share everything.
#[derive(Clone)]
pub struct Synthesis<L> {
    shared: Arc<Shared>,
    device: Device,
    language: L,
    /// Retries at the language model, which all requests share.
    retries: RetryBudget,
    metrics: SynthesisMetrics,
}

struct Shared {
    info: Info,
    bounds: Bounds,
    max_concurrent: usize,
    admission: Arc<Semaphore>,
}

/// What a running service accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of one request.
    pub bounds: Bounds,
    /// Requests that run at the same time; more are refused at once. Each has at most one job at the device, so an engine
    /// whose queues hold as many never refuses a request that was admitted.
    pub max_concurrent: usize,
}

impl<L: LanguageModel> Synthesis<L> {
    /// Moves the parts to the engine's thread.
    pub fn new(engine: &Engine, parts: Parts, language: L, limits: Limits) -> Self {
        let shared = Shared {
            info: parts.info().clone(),
            bounds: limits.bounds,
            max_concurrent: limits.max_concurrent,
            admission: Arc::new(Semaphore::new(limits.max_concurrent)),
        };
        let retries = RetryBudget::new(&RetryPolicy::default());
        let metrics = SynthesisMetrics::new(&Metrics::default(), &shared.info);
        Self { shared: Arc::new(shared), device: Device::start(engine, parts), language, retries, metrics }
    }

    /// The same service, counting into `metrics`.
    #[must_use]
    pub fn counted(self, metrics: &Metrics) -> Self {
        Self { metrics: SynthesisMetrics::new(metrics, self.info()), ..self }
    }

    /// The same service with another patience with a language model that is lost.
    #[must_use]
    pub fn with_failover(self, policy: &RetryPolicy) -> Self {
        Self { retries: RetryBudget::new(policy), ..self }
    }

    /// Requests that hold a place now.
    pub fn running(&self) -> usize {
        self.shared.max_concurrent - self.shared.admission.available_permits()
    }

    /// Jobs that wait for the device now.
    pub fn queued(&self) -> usize {
        self.device.queued()
    }

    /// Sizes of the loaded parts.
    pub fn info(&self) -> &Info {
        &self.shared.info
    }

    /// What one request may ask for.
    pub fn bounds(&self) -> &Bounds {
        &self.shared.bounds
    }

    /// Makes images. Nothing runs but while the stream is polled, and dropping it stops the work within one step of the
    /// device.
    ///
    /// # Errors
    /// At once when the request is wrong, with every violation, or when too many are running; later as an item, the last
    /// one.
    pub fn synthesize(
        &self,
        spec: SynthesisSpec,
        context: JobContext,
    ) -> Result<impl Stream<Item = Result<SynthesisEvent, ApiError>> + Send + 'static, ApiError> {
        let violations = spec.violations(&self.shared.info, &self.shared.bounds);
        if !violations.is_empty() {
            return Err(ApiError::Invalid(violations));
        }
        let permit = self.admit()?;
        let (events, told) = mpsc::channel(WAITING_EVENTS);
        let span = context.span.clone();
        let drive = Drive {
            device: self.device.clone(),
            language: self.language.clone(),
            image_size: self.shared.info.image_size(&spec.settings),
            spec,
            patience: self.retries.begin(context.deadline.map(Into::into)),
            context,
            events,
            metrics: self.metrics.clone(),
            timings: Timings::default(),
            started: Instant::now(),
        };
        Ok(Driven { work: Some(Box::pin(drive.run().instrument(span))), told, _permit: permit })
    }

    /// Embeddings of an image by the MAR path, `[N + K, H]`, buffers last.
    ///
    /// # Errors
    /// When the image does not fit, too many requests are running, or the device fails.
    pub async fn encode_mar(
        &self,
        image: RgbImage,
        handover: Handover,
        context: &JobContext,
    ) -> Result<Tensor, ApiError> {
        if let Some(problem) = self.shared.info.image_problem(&image, self.shared.bounds.max_places) {
            return Err(ApiError::invalid("frame", problem));
        }
        let _permit = self.admit()?;
        Ok(self.device.image(image, handover, context).await?.reply.z_full)
    }

    /// Runs every kind of job once on a small image, so that the first request meets a device that has its kernels and
    /// buffers.
    ///
    /// # Errors
    /// When the model cannot compute.
    pub async fn warm_up(&self) -> Result<(), ApiError> {
        let context = JobContext::current().with_span(info_span!("warm_up"));
        let grid = ImageGrid { rows: 4, cols: 4 };
        let settings = Settings {
            grid,
            iterations: 1,
            head_steps: 2,
            guidance_scale: 3.0,
            guidance_schedule: Default::default(),
            temperature: 1.0,
            seed: 0,
            first_image: 0,
            n_images: 1,
        };
        let (width, height) = self.shared.info.image_size(&settings);
        let image = RgbImage { width, height, rgb: vec![127; 3 * width * height].into() };
        let source = self.device.image(image, Handover::Device, &context).await?.reply;
        let mut generation = Generation::seeded(settings, Some(source)).map_err(generation_error)?;
        while let Some(iteration) = generation.next() {
            let inputs = generation.encode_inputs(&iteration);
            let (encoded, rows) = self.device.encode(inputs, Handover::Host, &context).await?.reply;
            let hidden = Tensor::cat(&[&rows, &rows], 0).map_err(tensor_error)?;
            let inputs = generation.decode_inputs(&iteration, &encoded, &hidden).map_err(generation_error)?;
            let decoded = self.device.decode(inputs, &context).await?.reply;
            let state = generation.head_state(&iteration, &decoded).map_err(generation_error)?;
            let state = self.device.head(state, generation.head_noises(&iteration), &context).await?.reply;
            generation.reveal(&iteration, state.x()).map_err(generation_error)?;
        }
        let latents = generation.latents(&candle_core::Device::Cpu).and_then(|l| l.get(0)).map_err(tensor_error)?;
        self.device.pixels(latents, &context).await.map(drop)
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let full = ApiError::Overloaded { reason: Reason::QueueFull, retry_after: RETRY_AFTER };
        self.shared.admission.clone().try_acquire_owned().map_err(|_| full)
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), ApiError>> + Send>>;

/// A generation driven by whoever reads its events: there is no task to join, and dropping it is cancelling it.
struct Driven {
    work: Option<Work>,
    told: mpsc::Receiver<SynthesisEvent>,
    _permit: OwnedSemaphorePermit,
}

impl Stream for Driven {
    type Item = Result<SynthesisEvent, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Events first: what was told before an error is delivered before it.
        if let Poll::Ready(Some(event)) = self.told.poll_recv(cx) {
            return Poll::Ready(Some(Ok(event)));
        }
        let Some(work) = &mut self.work else { return Poll::Ready(None) };
        let finished = work.as_mut().poll(cx);
        if let Poll::Ready(Some(event)) = self.told.poll_recv(cx) {
            // A finished work is not polled again: its result waits behind the events.
            if let Poll::Ready(result) = finished {
                self.work = Some(Box::pin(std::future::ready(result)));
            }
            return Poll::Ready(Some(Ok(event)));
        }
        match finished {
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => {
                self.work = None;
                match result {
                    Ok(()) => Poll::Ready(None),
                    Err(error) => Poll::Ready(Some(Err(error))),
                }
            }
        }
    }
}
