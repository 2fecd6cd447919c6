//! Generate and Edit: one synthesis, watched, its images written and handed on.

use std::sync::Arc;

use futures::StreamExt;
use tokio::time::Instant;
use tracing::Instrument;
use unipic_api::{ApiError, Reason, pb};
use unipic_imaging::{Format, Rgb8};
use unipic_serving::CallContext;

use super::attempts::Attempts;
use super::replay::Delivery;
use super::{blame, ms_since, take_place};
use crate::admission::Ticket;
use crate::backends::{Backends, ReplyStream, SynthesisEvent, SynthesisImage};
use crate::events::Events;
use crate::gateway::Gateway;
use crate::metadata;
use crate::model::Model;
use crate::pictures::Source;
use crate::validation::ImageSpec;

/// An event of either flow; both responses have the same events.
#[derive(Debug, Clone)]
pub(crate) enum ImageEvent {
    Queued(pb::Queued),
    Progress(pb::Progress),
    Preview(pb::Preview),
    /// With the options it was made by, defaults filled in.
    Image(pb::ImageResult, pb::ImageOptions),
    Resumed(pb::Resumed),
    Done(pb::ImageDone),
}

impl From<pb::Queued> for ImageEvent {
    fn from(queued: pb::Queued) -> Self {
        Self::Queued(queued)
    }
}

impl From<pb::Resumed> for ImageEvent {
    fn from(resumed: pb::Resumed) -> Self {
        Self::Resumed(resumed)
    }
}

/// A judged request with all it needs.
pub(crate) struct ImageFlow<B: Backends> {
    pub(crate) gateway: Gateway<B>,
    pub(crate) model: Arc<Model>,
    pub(crate) spec: ImageSpec,
    /// There for an edit.
    pub(crate) source: Option<Source>,
    pub(crate) call: CallContext,
    pub(crate) began: Instant,
}

/// Runs the flow to its end.
pub(crate) async fn make_images<B: Backends>(
    flow: ImageFlow<B>,
    ticket: Ticket,
    events: Events<ImageEvent>,
) -> Result<(), ApiError> {
    let place = take_place(ticket, &events).await?;
    let turn = Instant::now();
    let parameters = flow.spec.parameters(flow.model.facts.synthesis.stride, flow.source.as_ref());
    let mut delivery = Delivery::new(flow.spec.n);
    let mut attempts = Attempts::begin(&flow.gateway, pb::Backend::Synthesis, flow.call.deadline);
    let timings = loop {
        let span = tracing::info_span!("synthesize", seed = flow.spec.seed, attempt = attempts.number());
        let attempt = flow.attempt(delivery.rest(&parameters), &mut delivery, &mut attempts, &events);
        match attempt.instrument(span).await {
            Ok(timings) => break timings,
            // The same request with the same seed makes the same images, wherever it is made.
            Err(error) => {
                let lost = attempts.make_good(error, |event| events.offer(event)).await;
                lost.map_err(|error| blame::image_request(error, flow.text_field()))?;
            }
        }
    };
    attempts.ended_well();
    place.done();
    flow.gateway.shared.metrics.images_made(flow.task(), flow.spec.n, turn.elapsed());
    let done = pb::ImageDone {
        options: Some(flow.spec.to_options()),
        timings: Some(timings),
        weights_sha256: flow.model.weights_sha256.clone(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    events.send(ImageEvent::Done(done)).await
}

impl<B: Backends> ImageFlow<B> {
    /// What is asked for, in one word.
    fn task(&self) -> &'static str {
        if self.source.is_some() { "edit" } else { "generate" }
    }

    /// What the request calls the user's text.
    fn text_field(&self) -> &'static str {
        if self.source.is_some() { "instruction" } else { "prompt" }
    }

    /// One synthesis from its start to its end or its loss.
    async fn attempt(
        &self,
        parameters: pb::SynthesisParameters,
        delivery: &mut Delivery,
        attempts: &mut Attempts,
        events: &Events<ImageEvent>,
    ) -> Result<pb::SynthesisTimings, ApiError> {
        let source = self.source.as_ref().map(|source| source.pixels.clone());
        let began = Instant::now();
        let mut replies: ReplyStream<SynthesisEvent> =
            self.gateway.shared.backends.synthesize(parameters, source, &self.call).await?;
        while let Some(reply) = replies.next().await {
            match reply? {
                SynthesisEvent::Progress(progress) => {
                    if let Some(progress) = delivery.progress(progress) {
                        // What is only repeated is no sign that it will end: the request itself may be what kills.
                        attempts.worked();
                        events.send(ImageEvent::Progress(self.progress(progress, began))).await?;
                    }
                }
                SynthesisEvent::Resumed(resumed) => events.offer(resumed),
                SynthesisEvent::Image(image) if image.preview => self.preview(image, delivery, events).await?,
                SynthesisEvent::Image(image) => {
                    if delivery.take(image.image)? {
                        self.finished(image, events).await?;
                    }
                }
                SynthesisEvent::Done(timings) => return delivery.complete().map(|()| timings),
            }
        }
        // An end without `done` is a replica that went away in the middle.
        Err(ApiError::unavailable(Reason::BackendUnavailable))
    }

    /// Adds times. What is left is told from the pace since the first iteration began, prefill and queue included.
    fn progress(&self, progress: pb::SynthesisProgress, began: Instant) -> pb::Progress {
        let (done, all) = (f64::from(progress.iteration), f64::from(progress.iterations));
        let remaining_ms = if done > 0.0 { ms_since(began) / done * (all - done).max(0.0) } else { 0.0 };
        pb::Progress {
            iteration: progress.iteration,
            iterations: progress.iterations,
            known_tokens: progress.known_tokens,
            total_tokens: progress.total_tokens,
            elapsed_ms: ms_since(self.began),
            remaining_ms,
        }
    }

    async fn preview(
        &self,
        image: SynthesisImage,
        delivery: &mut Delivery,
        events: &Events<ImageEvent>,
    ) -> Result<(), ApiError> {
        let number = image.image;
        let Some(iteration) = delivery.preview(number)? else { return Ok(()) };
        let pixels = self.composed(image.pixels).await?;
        let data = self.gateway.shared.pictures.encode(pixels, self.spec.format, None).await?;
        let media_type = self.spec.format.media_type().to_owned();
        events.send(ImageEvent::Preview(pb::Preview { image: number, iteration, data, media_type })).await
    }

    async fn finished(&self, image: SynthesisImage, events: &Events<ImageEvent>) -> Result<(), ApiError> {
        let SynthesisImage { image: number, pixels, .. } = image;
        let pixels = self.composed(pixels).await?;
        let (width, height) = (pixels.width, pixels.height);
        let text = (self.spec.format == Format::Png)
            .then(|| metadata::describe(&self.model, &self.spec, self.source.as_ref(), number))
            .flatten();
        let result = pb::ImageResult {
            image: number,
            data: self.gateway.shared.pictures.encode(pixels, self.spec.format, text).await?,
            media_type: self.spec.format.media_type().to_owned(),
            width,
            height,
            seed: self.spec.seed,
            crop: self.source.as_ref().map(|source| source.crop),
        };
        events.send(ImageEvent::Image(result, self.spec.to_options())).await
    }

    /// A picture as it leaves: in an edit with a mask, what is outside it is the source's.
    async fn composed(&self, pixels: Rgb8) -> Result<Rgb8, ApiError> {
        self.check_size(&pixels)?;
        match self.source.as_ref().and_then(|source| source.redraw.as_ref()) {
            Some(redraw) => self.gateway.shared.pictures.blend(pixels, &redraw.blend).await,
            None => Ok(pixels),
        }
    }

    /// An image of another size than asked for must not leave as if it were the right one.
    fn check_size(&self, pixels: &Rgb8) -> Result<(), ApiError> {
        if (pixels.width, pixels.height) == (self.spec.width, self.spec.height) {
            return Ok(());
        }
        tracing::error!(?pixels, "the synthesis service sent an image of another size than asked for");
        Err(ApiError::Fault(Reason::Bug))
    }
}
