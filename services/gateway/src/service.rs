//! The gRPC face of the gateway: requests judged, queued and turned into streams. Thin: the flows know no tonic.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status};
use unipic_api::pb;

use crate::backends::Backends;
use crate::caller::Caller;
use crate::flows::{ImageEvent, UnderstandEvent};
use crate::gateway::Gateway;
use crate::validation::Picture;

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<B: Backends> pb::uni_pic_server::UniPic for Gateway<B> {
    type GenerateStream = ResponseStream<pb::GenerateResponse>;
    type EditStream = ResponseStream<pb::EditResponse>;
    type UnderstandStream = ResponseStream<pb::UnderstandResponse>;
    type EmbedStream = ResponseStream<pb::EmbedResponse>;

    async fn generate(&self, request: Request<pb::GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        let caller = Caller::of(&request)?;
        let events = self.start_generate(request.into_inner(), caller)?;
        Ok(Response::new(events.map(|event| event.map(generate_response)).boxed()))
    }

    async fn edit(&self, request: Request<pb::EditRequest>) -> Result<Response<Self::EditStream>, Status> {
        let caller = Caller::of(&request)?;
        let events = self.start_edit(request.into_inner(), caller).await?;
        Ok(Response::new(events.map(|event| event.map(edit_response)).boxed()))
    }

    async fn understand(
        &self,
        request: Request<pb::UnderstandRequest>,
    ) -> Result<Response<Self::UnderstandStream>, Status> {
        let caller = Caller::of(&request)?;
        let events = self.start_understand(request.into_inner(), caller).await?;
        Ok(Response::new(events.map(|event| event.map(understand_response)).boxed()))
    }

    async fn embed(&self, request: Request<pb::EmbedRequest>) -> Result<Response<Self::EmbedStream>, Status> {
        let caller = Caller::of(&request)?;
        let pb::EmbedRequest { image, encoder_path } = request.into_inner();
        let events = self.start_embed(Picture::File(image), encoder_path, caller).await?;
        Ok(Response::new(events.boxed()))
    }

    async fn get_model(
        &self,
        _request: Request<pb::GetModelRequest>,
    ) -> Result<Response<pb::GetModelResponse>, Status> {
        Ok(Response::new(self.model()?.to_response()))
    }
}

fn generate_response(event: ImageEvent) -> pb::GenerateResponse {
    use pb::generate_response::Event;
    let event = match event {
        ImageEvent::Queued(queued) => Event::Queued(queued),
        ImageEvent::Progress(progress) => Event::Progress(progress),
        ImageEvent::Preview(preview) => Event::Preview(preview),
        ImageEvent::Image(image, _) => Event::Image(image),
        ImageEvent::Resumed(resumed) => Event::Resumed(resumed),
        ImageEvent::Done(done) => Event::Done(done),
    };
    pb::GenerateResponse { event: Some(event) }
}

fn edit_response(event: ImageEvent) -> pb::EditResponse {
    use pb::edit_response::Event;
    let event = match event {
        ImageEvent::Queued(queued) => Event::Queued(queued),
        ImageEvent::Progress(progress) => Event::Progress(progress),
        ImageEvent::Preview(preview) => Event::Preview(preview),
        ImageEvent::Image(image, _) => Event::Image(image),
        ImageEvent::Resumed(resumed) => Event::Resumed(resumed),
        ImageEvent::Done(done) => Event::Done(done),
    };
    pb::EditResponse { event: Some(event) }
}

fn understand_response(event: UnderstandEvent) -> pb::UnderstandResponse {
    use pb::understand_response::Event;
    let event = match event {
        UnderstandEvent::Queued(queued) => Event::Queued(queued),
        UnderstandEvent::Text(text) => Event::TextDelta(text),
        UnderstandEvent::Resumed(resumed) => Event::Resumed(resumed),
        UnderstandEvent::Done(done) => Event::Done(done),
    };
    pb::UnderstandResponse { event: Some(event) }
}
