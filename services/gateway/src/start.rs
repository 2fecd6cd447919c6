//! Requests judged, queued and started: what the gRPC face and the HTTP face share.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::Instrument;
use unipic_api::{ApiError, pb};

use crate::admission::Work;
use crate::backends::Backends;
use crate::caller::Caller;
use crate::events::EventStream;
use crate::flows::{self, ImageEvent, ImageFlow, UnderstandEvent};
use crate::gateway::Gateway;
use crate::model::Model;
use crate::pictures::Source;
use crate::validation::{self, EditSpec, ImageSpec, Picture, UnderstandSpec};

impl<B: Backends> Gateway<B> {
    /// Starts a Generate request.
    ///
    /// # Errors
    /// The request is wrong, no model is known yet, or the queue is full.
    pub(crate) fn start_generate(
        &self,
        request: pb::GenerateRequest,
        caller: Caller,
    ) -> Result<EventStream<ImageEvent>, ApiError> {
        let began = Instant::now();
        let model = self.model()?;
        let spec = validation::generate(request, &model)?;
        self.start_images("generate", (spec, None), model, caller, began)
    }

    /// Starts an Edit request.
    ///
    /// # Errors
    /// As [`Gateway::start_generate`].
    pub(crate) async fn start_edit(
        &self,
        request: pb::EditRequest,
        caller: Caller,
    ) -> Result<EventStream<ImageEvent>, ApiError> {
        let began = Instant::now();
        let model = self.model()?;
        let EditSpec { image: spec, source } = self.edit_spec(request, &model, &caller).await?;
        self.start_images("edit", (spec, Some(source)), model, caller, began)
    }

    /// Judges a Generate request without starting it: of one that is refused already, to tell what else is wrong.
    ///
    /// # Errors
    /// As [`Gateway::start_generate`], but for the queue.
    pub(crate) fn judge_generate(&self, request: pb::GenerateRequest) -> Result<(), ApiError> {
        validation::generate(request, &*self.model()?).map(drop)
    }

    /// Judges an Edit request without starting it.
    ///
    /// # Errors
    /// As [`Gateway::start_generate`].
    pub(crate) async fn judge_edit(&self, request: pb::EditRequest, caller: &Caller) -> Result<(), ApiError> {
        self.edit_spec(request, &*self.model()?, caller).await.map(drop)
    }

    async fn edit_spec(&self, request: pb::EditRequest, model: &Model, caller: &Caller) -> Result<EditSpec, ApiError> {
        self.shared.admission.check_room(&caller.ask(Work::UNKNOWN))?;
        let _room =
            self.shared.pictures.room(request.image.len() + request.mask.as_ref().map_or(0, |m| m.image.len()))?;
        let judged = validation::edit(request, model, &self.shared.pictures);
        judged.instrument(tracing::info_span!("validate")).await
    }

    /// Queues and starts what was judged.
    fn start_images(
        &self,
        task: &'static str,
        (spec, source): (ImageSpec, Option<Source>),
        model: Arc<Model>,
        caller: Caller,
        began: Instant,
    ) -> Result<EventStream<ImageEvent>, ApiError> {
        let ticket = self.shared.admission.enter(caller.ask(spec.work(&model)))?;
        let call = caller.call;
        let span = image_span(task, &spec);
        let gateway = self.clone();
        Ok(span.in_scope(|| {
            EventStream::spawn(call, |events, call| {
                let flow = ImageFlow { gateway, model, spec, source, call, began };
                flows::make_images(flow, ticket, events)
            })
        }))
    }

    /// Starts an Understand request.
    ///
    /// # Errors
    /// As [`Gateway::start_generate`].
    pub(crate) async fn start_understand(
        &self,
        request: pb::UnderstandRequest,
        caller: Caller,
    ) -> Result<EventStream<UnderstandEvent>, ApiError> {
        let began = Instant::now();
        let model = self.model()?;
        let spec = self.understand_spec(request, &model, &caller).await?;
        let ticket = self.shared.admission.enter(caller.ask(spec.work(&model)))?;
        let call = caller.call;
        let span = tracing::info_span!("understand", turns = spec.turns.len(), max_tokens = spec.max_tokens);
        let gateway = self.clone();
        Ok(span.in_scope(|| {
            EventStream::spawn(call, |events, call| flows::understand(gateway, spec, call, ticket, events, began))
        }))
    }

    /// Judges an Understand request without starting it.
    ///
    /// # Errors
    /// As [`Gateway::start_generate`].
    pub(crate) async fn judge_understand(
        &self,
        request: pb::UnderstandRequest,
        caller: &Caller,
    ) -> Result<(), ApiError> {
        self.understand_spec(request, &*self.model()?, caller).await.map(drop)
    }

    async fn understand_spec(
        &self,
        request: pb::UnderstandRequest,
        model: &Model,
        caller: &Caller,
    ) -> Result<UnderstandSpec, ApiError> {
        self.shared.admission.check_room(&caller.ask(Work::UNKNOWN))?;
        let _room = self.shared.pictures.room(image_bytes(&request))?;
        let judged = validation::understand(request, model, &self.shared.pictures);
        judged.instrument(tracing::info_span!("validate")).await
    }

    /// Starts an Embed request.
    ///
    /// # Errors
    /// As [`Gateway::start_generate`].
    pub(crate) async fn start_embed(
        &self,
        picture: Picture,
        encoder: i32,
        caller: Caller,
    ) -> Result<EventStream<pb::EmbedResponse>, ApiError> {
        let model = self.model()?;
        self.shared.admission.check_room(&caller.ask(Work::UNKNOWN))?;
        let _room = self.shared.pictures.room(picture.n_bytes())?;
        let judged = validation::embed(picture, encoder, &model, &self.shared.pictures);
        let spec = judged.instrument(tracing::info_span!("validate")).await?;
        let ticket = self.shared.admission.enter(caller.ask(spec.work(&model)))?;
        let call = caller.call;
        let span = tracing::info_span!("embed", path = spec.path.as_str_name());
        let gateway = self.clone();
        Ok(span.in_scope(|| EventStream::spawn(call, |events, call| flows::embed(gateway, spec, call, ticket, events))))
    }
}

/// Bytes of the image files of a conversation.
fn image_bytes(request: &pb::UnderstandRequest) -> usize {
    let parts = request.turns.iter().flat_map(|turn| &turn.parts);
    let bytes = |part: &pb::Part| match &part.content {
        Some(pb::part::Content::Image(file)) => file.len(),
        _ => 0,
    };
    parts.map(bytes).sum()
}

/// The span of an image flow: sizes, never the prompt.
fn image_span(task: &'static str, spec: &ImageSpec) -> tracing::Span {
    tracing::info_span!(
        "make_images",
        task,
        n = spec.n,
        width = spec.width,
        height = spec.height,
        iterations = spec.iterations,
        head_steps = spec.head_steps,
    )
}
