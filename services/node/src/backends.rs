//! The gateway's backends by value: no message, no frame, no copy of a tensor.

use std::sync::Arc;

use candle_core::Tensor;
use futures::StreamExt;
use tokio::sync::SetOnce;
use tracing::Span;
use unipic_api::frames::RawTensor;
use unipic_api::{ApiError, Reason, pb};
use unipic_decoder::Decoder;
use unipic_engine::JobContext;
use unipic_engine_metrics::{DeviceMemory, Held};
use unipic_gateway::{
    AnswerEvent, AnswerSpec, Backends, Facts, Missing, PromptPiece, ReplyStream, SynthesisEvent, SynthesisImage,
};
use unipic_imaging::Rgb8;
use unipic_models::Handover;
use unipic_models::prompt::{Prompt, Segment};
use unipic_serving::{CallContext, Priority};
use unipic_synthesis::{RgbImage, Synthesis, SynthesisSpec};
use unipic_telemetry::metrics::Raised;
use unipic_understanding::Understanding;

use crate::language::LocalDecoder;

/// The three services with weights, in this process: loaded, or yet to come. Clones share them.
#[derive(Clone, Default)]
pub struct NodeBackends(Arc<SetOnce<Loaded>>);

/// The three services with weights.
pub(crate) struct Loaded {
    pub(crate) understanding: Understanding,
    pub(crate) synthesis: Synthesis<LocalDecoder>,
    pub(crate) decoder: Decoder,
    /// Where embeddings lie.
    pub(crate) memory: DeviceMemory,
}

/// Embeddings of an image on the device, counted while they live. Clones share them.
#[derive(Clone)]
pub struct Embedded {
    tensor: Tensor,
    _held: Arc<Raised>,
}

fn embeddings_bytes(embeddings: &Tensor) -> u64 {
    (embeddings.elem_count() * embeddings.dtype().size_in_bytes()) as u64
}

impl Loaded {
    fn embedded(&self, tensor: Tensor) -> Embedded {
        let held = self.memory.holds(Held::Embeddings, embeddings_bytes(&tensor));
        Embedded { tensor, _held: Arc::new(held) }
    }

    /// Runs every part once, so that the first request meets a warm device.
    pub(crate) async fn warm_up(&self) -> Result<(), ApiError> {
        self.decoder.warm_up().await?;
        self.understanding.warm_up().await?;
        self.synthesis.warm_up().await
    }
}

impl NodeBackends {
    /// They are there from now on. What came first stays.
    pub(crate) fn come(&self, loaded: Loaded) {
        let _ = self.0.set(loaded);
    }

    /// The services, which are there before any request is let in.
    fn loaded(&self) -> Result<&Loaded, ApiError> {
        self.0.get().ok_or_else(|| ApiError::unavailable(Reason::Loading))
    }
}

/// A job of the current span that ends with its call, on behalf of the same tenant.
fn job(call: &CallContext) -> JobContext {
    let (cancel, tenant) = (call.cancel.clone(), call.tenant.clone().into());
    let is_background = call.priority == Priority::Batch;
    JobContext { span: Span::current(), deadline: Some(call.deadline.into_std()), cancel, tenant, is_background }
}

fn pixels(image: Rgb8) -> RgbImage {
    let Rgb8 { width, height, data } = image;
    RgbImage { width: width as usize, height: height as usize, rgb: data.into() }
}

impl Backends for NodeBackends {
    type Embeddings = Embedded;

    fn embeddings_bytes(embeddings: &Embedded) -> u64 {
        embeddings_bytes(&embeddings.tensor)
    }

    async fn facts(&self) -> Result<Facts, Vec<Missing>> {
        // A gateway takes no requests before it has these, and asks only once at a time: waiting is all there is to do.
        let Loaded { understanding, synthesis, decoder, .. } = self.0.wait().await;
        Ok(Facts {
            understanding: understanding.info().message(),
            synthesis: synthesis.info_message(),
            decoder: decoder.info().message(),
        })
    }

    async fn synthesize(
        &self,
        parameters: pb::SynthesisParameters,
        source: Option<Rgb8>,
        call: &CallContext,
    ) -> Result<ReplyStream<SynthesisEvent>, ApiError> {
        let spec = SynthesisSpec::from_message(parameters, source.map(pixels))?;
        let events = self.loaded()?.synthesis.synthesize(spec, job(call))?;
        Ok(events.map(|event| event.and_then(translated)).boxed())
    }

    async fn encode_siglip(&self, image: Rgb8, call: &CallContext) -> Result<Embedded, ApiError> {
        let loaded = self.loaded()?;
        let done = loaded.understanding.encode(image.data.into(), Handover::Device, &job(call)).await?;
        Ok(loaded.embedded(done.reply))
    }

    async fn encode_mar(&self, image: Rgb8, call: &CallContext) -> Result<Embedded, ApiError> {
        let loaded = self.loaded()?;
        Ok(loaded.embedded(loaded.synthesis.encode_mar(pixels(image), Handover::Device, &job(call)).await?))
    }

    async fn answer(
        &self,
        spec: AnswerSpec<Embedded>,
        call: &CallContext,
    ) -> Result<ReplyStream<AnswerEvent>, ApiError> {
        let segment = |piece: PromptPiece<Embedded>| match piece {
            PromptPiece::Template(text) => Segment::Template(text),
            PromptPiece::User(text) => Segment::User(text),
            PromptPiece::Embeddings(embedded) => Segment::Embeddings(embedded.tensor),
        };
        let request = unipic_decoder::AnswerSpec {
            prompt: Prompt { segments: spec.prompt.into_iter().map(segment).collect() },
            max_tokens: spec.max_tokens as usize,
            temperature: spec.temperature,
            top_p: spec.top_p,
            seed: spec.seed,
            stop: spec.stop,
            candidates: spec.candidates,
        };
        let events = self.loaded()?.decoder.answer(request, job(call)).await?;
        let translated = |event| match event {
            unipic_decoder::AnswerEvent::Text(text) => AnswerEvent::Text(text),
            unipic_decoder::AnswerEvent::Done(done) => AnswerEvent::Done(done.message()),
        };
        Ok(events.map(move |event| event.map(translated)).boxed())
    }

    async fn frames(&self, embeddings: Embedded) -> Result<Vec<pb::TensorFrame>, ApiError> {
        let host = Handover::Host.apply(&embeddings.tensor).map_err(|error| fault(&error))?;
        let raw: RawTensor = unipic_wire::encode(&host).map_err(|error| fault(&error))?;
        Ok(raw.into_frames().collect())
    }
}

fn translated(event: unipic_synthesis::SynthesisEvent) -> Result<SynthesisEvent, ApiError> {
    use unipic_synthesis::SynthesisEvent as Event;
    Ok(match event {
        Event::Progress(progress) => SynthesisEvent::Progress(progress.message()),
        Event::Preview(picture) => SynthesisEvent::Image(image(picture, true)?),
        Event::Image(picture) => SynthesisEvent::Image(image(picture, false)?),
        Event::Resumed { attempt } => {
            SynthesisEvent::Resumed(pb::Resumed { what: pb::Backend::Decoder.into(), attempt })
        }
        Event::Done(timings) => SynthesisEvent::Done(timings.message()),
    })
}

fn image(picture: unipic_synthesis::Picture, preview: bool) -> Result<SynthesisImage, ApiError> {
    let RgbImage { width, height, rgb } = picture.pixels;
    let pixels = Rgb8 { width: width as u32, height: height as u32, data: rgb.into() };
    Ok(SynthesisImage { image: picture.image, preview, pixels })
}

/// A tensor operation that cannot fail on what was checked, and did.
fn fault(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "cannot hand a tensor over");
    ApiError::Fault(Reason::DeviceFault)
}
