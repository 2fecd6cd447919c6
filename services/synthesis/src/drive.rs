//! The loop of one generation, from its parameters to its last image.
//!
//! Everything that a generation needs to go on lives here (known places, latents, the iteration), so a lost language
//! model costs the prompts' prefill and the iteration under way, and nothing else.

use std::time::Instant;

use tokio::sync::mpsc;
use tracing::{Instrument, Span, field, info_span};
use unipic_api::status::{ApiError, Reason};
use unipic_client::Patience;
use unipic_engine::{Done, JobContext};
use unipic_models::generation::{Decoded, Encoded, Generation, GenerationError, Iteration, Source};
use unipic_models::prompt::{self, Prompt};

use crate::conversation::Conversation;
use crate::device::Device;
use crate::event::{Picture, Progress, SynthesisEvent, Timings};
use crate::image::RgbImage;
use crate::language::{LanguageModel, ProbeSegment, Traffic};
use crate::metrics::SynthesisMetrics;
use crate::spec::SynthesisSpec;

/// A generation under way.
pub(crate) struct Drive<L: LanguageModel> {
    pub(crate) device: Device,
    pub(crate) language: L,
    pub(crate) spec: SynthesisSpec,
    pub(crate) image_size: (usize, usize),
    pub(crate) context: JobContext,
    pub(crate) patience: Patience,
    pub(crate) events: mpsc::Sender<SynthesisEvent>,
    pub(crate) metrics: SynthesisMetrics,
    pub(crate) timings: Timings,
    pub(crate) started: Instant,
}

impl<L: LanguageModel> Drive<L> {
    /// Runs to the end, telling events on the way.
    pub(crate) async fn run(mut self) -> Result<(), ApiError> {
        let _running = self.metrics.running();
        let n_kept = self.spec.settings.grid.n_places() - self.spec.n_drawn();
        self.tell(SynthesisEvent::Progress(self.progress(0, n_kept))).await?;
        let source = self.source().await?;
        let prompts = prompts(&self.spec, source.as_ref());
        let mut generation = generation(&self.spec, source).map_err(generation_error)?;
        let (language, context) = (self.language.clone(), self.context.clone());
        let (patience, retries) = (self.patience.clone(), self.metrics.retries.clone());
        let mut conversation = Conversation::new(language, prompts, context, patience, retries, self.events.clone());
        conversation.open().await?;
        self.metrics.moved(conversation.traffic());
        while let Some(iteration) = generation.next() {
            let (span, began) = (iteration_span(&iteration), Instant::now());
            self.iterate(&mut generation, &iteration, &mut conversation, &span).instrument(span.clone()).await?;
            self.metrics.iterated(began.elapsed());
            let progress = generation.progress();
            self.tell(SynthesisEvent::Progress(self.progress(progress.iteration, progress.n_known))).await?;
            let every = self.spec.preview_every;
            if every > 0 && progress.iteration.is_multiple_of(every) && progress.n_known < progress.n_places {
                self.pictures(&generation, SynthesisEvent::Preview, "preview").await?;
            }
        }
        self.timings.traffic = conversation.traffic();
        self.timings.prefill = conversation.prefill;
        // The prompts' keys and values are of no use to the autoencoder.
        drop(conversation);
        self.pictures(&generation, SynthesisEvent::Image, "vae").await?;
        self.timings.total = self.started.elapsed();
        self.metrics.finished(&self.timings);
        self.tell(SynthesisEvent::Done(self.timings)).await
    }

    async fn tell(&self, event: SynthesisEvent) -> Result<(), ApiError> {
        self.context.check().map_err(crate::device::engine_error)?;
        self.events.send(event).await.map_err(|_| ApiError::Cancelled)
    }

    fn progress(&self, iteration: usize, n_known: usize) -> Progress {
        let settings = &self.spec.settings;
        Progress {
            iteration,
            iterations: settings.iterations,
            known_tokens: n_known * settings.n_images,
            total_tokens: settings.grid.n_places() * settings.n_images,
        }
    }

    /// The encoded source of an edit.
    async fn source(&mut self) -> Result<Option<Source>, ApiError> {
        let Some(image) = self.spec.source.take() else { return Ok(None) };
        let context = self.context.with_span(info_span!("source", width = image.width, height = image.height));
        let done = self.device.image(image, self.language.handover(), &context).await?;
        self.timings.queue += done.queued;
        self.timings.source += done.ran;
        Ok(Some(done.reply))
    }

    async fn iterate(
        &mut self,
        generation: &mut Generation,
        iteration: &Iteration,
        conversation: &mut Conversation<L>,
        span: &Span,
    ) -> Result<(), ApiError> {
        let inputs = generation.encode_inputs(iteration);
        let context = self.context.with_span(info_span!("encode"));
        let done = self.device.encode(inputs, self.language.handover(), &context).await?;
        drop(context);
        let (encoded, rows) = self.took_mar(done);

        let before = (Instant::now(), conversation.traffic(), conversation.prefill);
        let segments = segments(&encoded, generation.n_branches())?;
        let hidden = conversation.probe(rows, segments).await?;
        // Prefilling again after a lost session is not the probe's time.
        self.timings.probe += before.0.elapsed().saturating_sub(conversation.prefill - before.2);
        let (now, then) = (conversation.traffic(), before.1);
        let moved = Traffic { sent: now.sent - then.sent, received: now.received - then.received };
        span.record("bytes_sent", moved.sent);
        span.record("bytes_received", moved.received);
        self.metrics.moved(moved);

        let inputs = generation.decode_inputs(iteration, &encoded, &hidden).map_err(generation_error)?;
        drop((encoded, hidden));
        let context = self.context.with_span(info_span!("decode"));
        let done = self.device.decode(inputs, &context).await?;
        drop(context);
        let decoded = self.took_mar(done);
        let latents = self.sample(generation, iteration, &decoded).await?;
        generation.reveal(iteration, &latents).map_err(generation_error)
    }

    fn took_mar<T>(&mut self, done: Done<T>) -> T {
        self.timings.queue += done.queued;
        self.timings.mar += done.ran;
        done.reply
    }

    /// The head's steps, which the device takes one after the other, each with whoever else is sampling then.
    async fn sample(
        &mut self,
        generation: &Generation,
        iteration: &Iteration,
        decoded: &[Decoded],
    ) -> Result<Vec<f32>, ApiError> {
        let state = generation.head_state(iteration, decoded).map_err(generation_error)?;
        let (rows, steps) = (state.n_rows(), generation.settings().head_steps);
        let span = info_span!("head", rows, steps, queue_ms = field::Empty);
        let context = self.context.with_span(span.clone());
        let done = self.device.head(state, generation.head_noises(iteration), &context).await?;
        span.record("queue_ms", done.queued.as_secs_f64() * 1e3);
        self.timings.queue += done.queued;
        self.timings.head += done.ran;
        Ok(done.reply.x().to_vec())
    }

    /// Decodes the images one by one and tells each as soon as it is there.
    async fn pictures(
        &mut self,
        generation: &Generation,
        event: fn(Picture) -> SynthesisEvent,
        span: &'static str,
    ) -> Result<(), ApiError> {
        let latents = generation.latents(&candle_core::Device::Cpu).map_err(tensor_error)?;
        let (width, height) = self.image_size;
        for (i, image) in (self.spec.settings.first_image..).take(self.spec.settings.n_images).enumerate() {
            let context = self.context.with_span(info_span!("vae", image, what = span));
            let latents = latents.get(i).map_err(tensor_error)?;
            let done = self.device.pixels(latents, &context).await?;
            self.timings.queue += done.queued;
            self.timings.vae += done.ran;
            let pixels = RgbImage { width, height, rgb: done.reply.into() };
            self.tell(event(Picture { image, pixels })).await?;
        }
        Ok(())
    }
}

/// The images before the first iteration.
fn generation(spec: &SynthesisSpec, source: Option<Source>) -> Result<Generation, GenerationError> {
    let generation = Generation::seeded(spec.settings.clone(), source)?;
    if spec.redrawn.is_empty() { Ok(generation) } else { generation.redrawing(&spec.redrawn) }
}

fn iteration_span(iteration: &Iteration) -> Span {
    info_span!(
        "iteration",
        index = iteration.index,
        images = iteration.images.len(),
        masked = iteration.n_masked,
        revealed = iteration.n_revealed,
        bytes_sent = field::Empty,
        bytes_received = field::Empty,
    )
}

/// One prompt per guidance branch, the conditional one first.
fn prompts(spec: &SynthesisSpec, source: Option<&Source>) -> Vec<Prompt> {
    let negative = spec.negative_prompt.as_deref().filter(|text| !text.is_empty());
    let conditional = match source {
        Some(source) => prompt::edit(&source.z_full, &spec.prompt),
        None => prompt::generate(&spec.prompt),
    };
    let unconditional = (spec.settings.n_branches() == 2).then(|| match source {
        Some(source) => prompt::edit_unconditional(&source.z_full, negative),
        None => prompt::generate_unconditional(negative),
    });
    [conditional].into_iter().chain(unconditional).collect()
}

/// Every image's rows behind every branch's prompt, branch by branch; the rows are sent once.
fn segments(encoded: &[Encoded], n_branches: usize) -> Result<Vec<ProbeSegment>, ApiError> {
    let mut segments = Vec::with_capacity(n_branches * encoded.len());
    for prompt in 0..n_branches {
        let mut first_row = 0;
        for image in encoded {
            let n_rows = image.x_enc.dim(0).map_err(tensor_error)?;
            segments.push(ProbeSegment { prompt, first_row, n_rows });
            first_row += n_rows;
        }
    }
    Ok(segments)
}

pub(crate) fn generation_error(error: GenerationError) -> ApiError {
    match error {
        GenerationError::Setting { field, problem } => ApiError::invalid(format!("parameters.{field}"), problem),
        GenerationError::NotFinite => ApiError::Fault(Reason::NonFinite),
        GenerationError::Tensor(error) => tensor_error(error),
        GenerationError::Mismatch(_) | GenerationError::Draws(_) => {
            tracing::error!(%error, "the generation does not fit its own results");
            ApiError::Fault(Reason::Bug)
        }
    }
}

pub(crate) fn tensor_error(error: candle_core::Error) -> ApiError {
    tracing::error!(%error, "a tensor operation failed");
    ApiError::Fault(Reason::DeviceFault)
}
