//! The service on the wire: messages judged and turned into the core's calls, and nothing else.

mod incoming;

use std::pin::Pin;

use async_stream::try_stream;
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;
use unipic_api::pb::decoder_server::Decoder as Api;
use unipic_api::pb::{answer_response, session_request, session_response};
use unipic_api::{ApiError, limits, pb};
use unipic_engine::JobContext;
use unipic_models::Handover;
use unipic_serving::{CallContext, Priority, Tenant};
use unipic_wire::frames;

use crate::answer::{AnswerEvent, AnswerSpec};
use crate::decoder::Decoder;
use crate::session::{ProbeSegment, Session};
use incoming::{Incoming, prompts};

/// The generated server over a [`Decoder`].
pub type Server = pb::decoder_server::DecoderServer<Adapter>;

/// A server with the message limits that both ends agreed on.
pub fn server(decoder: Decoder) -> Server {
    Server::new(Adapter { decoder })
        .max_decoding_message_size(limits::INTERNAL_MESSAGE_BYTES)
        .max_encoding_message_size(limits::INTERNAL_MESSAGE_BYTES)
}

/// Implements the generated service.
pub struct Adapter {
    decoder: Decoder,
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Api for Adapter {
    type SessionStream = Replies<pb::SessionResponse>;
    type AnswerStream = Replies<pb::AnswerResponse>;

    async fn session(
        &self,
        request: Request<Streaming<pb::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let context = context(&request);
        let incoming = Incoming::new(request.into_inner(), self.decoder.info().llm_width);
        Ok(Response::new(session_replies(self.decoder.clone(), incoming, context).boxed()))
    }

    async fn answer(
        &self,
        request: Request<Streaming<pb::AnswerRequest>>,
    ) -> Result<Response<Self::AnswerStream>, Status> {
        let context = context(&request);
        let mut incoming = Incoming::new(request.into_inner(), self.decoder.info().llm_width);
        let open = incoming.answer_open().await?;
        let tensors = incoming.tensors(open.n_tensors).await?;
        let prompt = prompts(open.prompt.as_slice(), &tensors, "open.prompt")?;
        let prompt = prompt.into_iter().next().ok_or_else(|| ApiError::invalid("open.prompt", "is missing"))?;
        let spec = AnswerSpec {
            prompt,
            max_tokens: open.max_tokens as usize,
            temperature: open.temperature,
            top_p: open.top_p,
            seed: open.seed,
            stop: open.stop,
            candidates: open.candidates,
        };
        let events = self.decoder.answer(spec, context).await?;
        Ok(Response::new(events.map(|event| Ok(answer_message(event?))).boxed()))
    }

    async fn get_decoder_info(
        &self,
        _: Request<pb::GetDecoderInfoRequest>,
    ) -> Result<Response<pb::GetDecoderInfoResponse>, Status> {
        Ok(Response::new(self.decoder.info().message()))
    }
}

/// The session lives in this stream: when the caller drops it or stops sending, its caches go with it.
fn session_replies(
    decoder: Decoder,
    mut incoming: Incoming<pb::SessionRequest>,
    context: JobContext,
) -> impl Stream<Item = Result<pb::SessionResponse, Status>> + Send {
    try_stream! {
        let open = incoming.session_open().await?;
        let tensors = incoming.tensors(open.n_tensors).await?;
        let prompts = prompts(&open.prompts, &tensors, "open.prompts")?;
        drop(tensors);
        let mut session = decoder.open_for(prompts, Handover::Host, &context).await?;
        yield session_message(session_response::Message::Opened(opened(&session)));
        while let Some(message) = incoming.next().await? {
            let segments = match message.message {
                Some(session_request::Message::Probe(probe)) => probe.segments,
                Some(session_request::Message::Open(_)) => Err(ApiError::invalid("open", "came twice"))?,
                Some(session_request::Message::Frame(_)) => Err(ApiError::invalid("frame", "came without a probe"))?,
                None => Err(ApiError::invalid("message", "is missing"))?,
            };
            check_reply(&segments, decoder.info().llm_width)?;
            let rows = incoming.tensor("frame").await?;
            let segments = segments.into_iter().map(segment).collect();
            let hidden = session.probe(rows, segments, &context).await?;
            for frame in frames(&hidden).map_err(ApiError::from)? {
                yield session_message(session_response::Message::Frame(frame));
            }
        }
    }
}

/// Segments may name the same rows as often as they like, so a small message could ask for any amount of work: what is
/// asked for has to fit the tensor that answers it.
fn check_reply(segments: &[pb::ProbeSegment], width: usize) -> Result<(), ApiError> {
    let rows: u64 = segments.iter().map(|segment| u64::from(segment.n_rows)).sum();
    let most = limits::TENSOR_BYTES / (width * size_of::<f32>()).max(1) as u64;
    if rows > most {
        return Err(ApiError::invalid("probe.segments", format!("{rows} rows in all; at most {most} are answered")));
    }
    Ok(())
}

fn segment(segment: pb::ProbeSegment) -> ProbeSegment {
    ProbeSegment {
        prompt: segment.prompt as usize,
        first_row: segment.first_row as usize,
        n_rows: segment.n_rows as usize,
    }
}

fn opened(session: &Session) -> pb::SessionOpened {
    pb::SessionOpened {
        prompt_tokens: session.prompt_tokens().map(|n| n as u32).collect(),
        prefilled_tokens: session.prefilled_tokens() as u32,
    }
}

fn session_message(message: session_response::Message) -> pb::SessionResponse {
    pb::SessionResponse { message: Some(message) }
}

fn answer_message(event: AnswerEvent) -> pb::AnswerResponse {
    let message = match event {
        AnswerEvent::Text(text) => answer_response::Message::TextDelta(text),
        AnswerEvent::Done(done) => answer_response::Message::Done(done.message()),
    };
    pb::AnswerResponse { message: Some(message) }
}

fn context<T>(request: &Request<T>) -> JobContext {
    let call = CallContext::of(request);
    let tenant = Tenant::told(request.metadata()).into();
    let is_background = Priority::told(request.metadata()) == Priority::Batch;
    let deadline = Some(call.deadline.into_std());
    JobContext { span: Span::current(), deadline, cancel: call.cancel, tenant, is_background }
}
