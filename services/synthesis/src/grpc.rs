//! The service on the wire: messages judged and turned into the core's calls, and nothing else.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;
use unipic_api::frames::FrameLimits;
use unipic_api::pb::synthesis_server::Synthesis as Api;
use unipic_api::pb::synthesize_request::Message;
use unipic_api::{ApiError, limits, pb};
use unipic_engine::JobContext;
use unipic_models::Handover;
use unipic_serving::{CallContext, Priority, Tenant};
use unipic_wire::{RawTensor, expect_shape, frames, receive_raw};

use crate::convert::messages;
use crate::image::RgbImage;
use crate::language::LanguageModel;
use crate::spec::SynthesisSpec;
use crate::synthesis::Synthesis;

/// The generated server over a [`Synthesis`].
pub type Server<L> = pb::synthesis_server::SynthesisServer<Adapter<L>>;

/// A server with the message limits that both ends agreed on.
pub fn server<L: LanguageModel>(synthesis: Synthesis<L>) -> Server<L> {
    Server::new(Adapter { synthesis })
        .max_decoding_message_size(limits::INTERNAL_MESSAGE_BYTES)
        .max_encoding_message_size(limits::INTERNAL_MESSAGE_BYTES)
}

/// Implements the generated service.
pub struct Adapter<L> {
    synthesis: Synthesis<L>,
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<L: LanguageModel> Api for Adapter<L> {
    type SynthesizeStream = Replies<pb::SynthesizeResponse>;
    type EncodeMarStream = Replies<pb::EncodeMarResponse>;

    async fn synthesize(
        &self,
        request: Request<Streaming<pb::SynthesizeRequest>>,
    ) -> Result<Response<Self::SynthesizeStream>, Status> {
        let context = context(&request);
        let mut requests = request.into_inner();
        let parameters = match requests.message().await?.and_then(|request| request.message) {
            Some(Message::Parameters(parameters)) => parameters,
            Some(Message::Source(_)) => return Err(ApiError::invalid("source", "came before the parameters").into()),
            None => return Err(ApiError::invalid("parameters", "are missing").into()),
        };
        let has_source = parameters.has_source;
        let mut spec = SynthesisSpec::from_message(parameters, None)?;
        // A wrong request is refused before its image is waited for.
        let violations = spec.violations(self.synthesis.info(), self.synthesis.bounds());
        if !violations.is_empty() {
            return Err(ApiError::Invalid(violations).into());
        }
        if has_source {
            spec.source = Some(self.source(&mut requests).await?);
        }
        let events = self.synthesis.synthesize(spec, context)?;
        let replies = events.flat_map(|event| match event.and_then(messages) {
            Ok(messages) => stream::iter(messages.map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error.into())]).boxed(),
        });
        Ok(Response::new(replies.boxed()))
    }

    async fn encode_mar(
        &self,
        request: Request<Streaming<pb::EncodeMarRequest>>,
    ) -> Result<Response<Self::EncodeMarStream>, Status> {
        let context = context(&request);
        let mut requests = request.into_inner();
        let frame =
            |message: pb::EncodeMarRequest| message.frame.ok_or_else(|| ApiError::invalid("frame", "is missing"));
        let raw = receive_raw(&mut requests, self.image_limits(), "frame", frame).await?;
        let image = image(raw, "frame")?;
        let embeddings = self.synthesis.encode_mar(image, Handover::Host, &context).await?;
        let frames = frames(&embeddings).map_err(ApiError::from)?;
        Ok(Response::new(stream::iter(frames.map(|frame| Ok(pb::EncodeMarResponse { frame: Some(frame) }))).boxed()))
    }

    async fn get_synthesis_info(
        &self,
        _: Request<pb::GetSynthesisInfoRequest>,
    ) -> Result<Response<pb::GetSynthesisInfoResponse>, Status> {
        Ok(Response::new(self.synthesis.info_message()))
    }
}

impl<L: LanguageModel> Adapter<L> {
    async fn source(&self, requests: &mut Streaming<pb::SynthesizeRequest>) -> Result<RgbImage, Status> {
        let frame = |request: pb::SynthesizeRequest| match request.message {
            Some(Message::Source(frame)) => Ok(frame),
            Some(Message::Parameters(_)) => Err(ApiError::invalid("parameters", "came twice")),
            None => Err(ApiError::invalid("source", "is missing")),
        };
        let raw = receive_raw(requests, self.image_limits(), "source", frame).await?;
        Ok(image(raw, "source")?)
    }

    /// An image of as many places as are accepted.
    fn image_limits(&self) -> FrameLimits {
        let (info, bounds) = (self.synthesis.info(), self.synthesis.bounds());
        FrameLimits { max_bytes: (bounds.max_places * info.stride * info.stride * 3) as u64 }
    }
}

fn image(raw: Option<RawTensor>, path: &str) -> Result<RgbImage, ApiError> {
    let raw = raw.ok_or_else(|| ApiError::invalid(path, "is missing"))?;
    let shape = [None, None, Some(3)];
    expect_shape(&raw, pb::DType::DtypeU8, &shape, "u8 [height, width, 3]").map_err(|error| error.at(path))?;
    Ok(RgbImage { height: raw.shape[0] as usize, width: raw.shape[1] as usize, rgb: raw.data })
}

fn context<T>(request: &Request<T>) -> JobContext {
    let call = CallContext::of(request);
    let tenant = Tenant::told(request.metadata()).into();
    let is_background = Priority::told(request.metadata()) == Priority::Batch;
    let deadline = Some(call.deadline.into_std());
    JobContext { span: Span::current(), deadline, cancel: call.cancel, tenant, is_background }
}
