//! A decoder service over the language model of the tests, as strict about the protocol as the real one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Device;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;
use unipic_api::pb;
use unipic_api::pb::segment::Piece;
use unipic_api::pb::session_request::Message as Ask;
use unipic_api::pb::session_response::Message as Reply;
use unipic_engine::JobContext;
use unipic_models::prompt::{Prompt, Segment};
use unipic_synthesis::{LanguageModel, LanguageSession, ProbeSegment};
use unipic_wire::{FrameLimits, frames, receive};

use super::Direct;

/// Serves [`Direct`] on a free port.
#[derive(Clone)]
pub struct FakeDecoder {
    language: Direct,
    /// Sessions break after so many probes each.
    probes_per_session: usize,
    sessions_ended: Arc<AtomicUsize>,
}

impl FakeDecoder {
    /// Its endpoint, and the count of sessions that have ended.
    pub async fn start(language: Direct, probes_per_session: usize) -> anyhow::Result<(String, Arc<AtomicUsize>)> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let sessions_ended = Arc::new(AtomicUsize::new(0));
        let fake = Self { language, probes_per_session, sessions_ended: sessions_ended.clone() };
        let server = tonic::transport::Server::builder();
        let mut server = server;
        let served = server
            .add_service(pb::decoder_server::DecoderServer::new(fake))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(served);
        Ok((endpoint, sessions_ended))
    }
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl pb::decoder_server::Decoder for FakeDecoder {
    type SessionStream = Replies<pb::SessionResponse>;
    type AnswerStream = Replies<pb::AnswerResponse>;

    async fn session(
        &self,
        request: Request<Streaming<pb::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (replies, sent) = mpsc::channel(4);
        let fake = self.clone();
        tokio::spawn(async move {
            let mut requests = request.into_inner();
            let failed = fake.converse(&mut requests, &replies).await.err();
            fake.sessions_ended.fetch_add(1, Ordering::SeqCst);
            if let Some(status) = failed {
                let _ = replies.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(sent).boxed()))
    }

    async fn answer(&self, _: Request<Streaming<pb::AnswerRequest>>) -> Result<Response<Self::AnswerStream>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn get_decoder_info(
        &self,
        _: Request<pb::GetDecoderInfoRequest>,
    ) -> Result<Response<pb::GetDecoderInfoResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }
}

impl FakeDecoder {
    async fn converse(
        &self,
        requests: &mut Streaming<pb::SessionRequest>,
        replies: &mpsc::Sender<Result<pb::SessionResponse, Status>>,
    ) -> Result<(), Status> {
        let context = JobContext { span: Span::none(), ..JobContext::current() };
        let Some(Ask::Open(open)) = requests.message().await?.and_then(|m| m.message) else {
            return Err(Status::invalid_argument("open comes first"));
        };
        let mut tensors = Vec::new();
        for _ in 0..open.n_tensors {
            tensors.push(tensor(requests).await?);
        }
        let piece = |segment: pb::Segment| match segment.piece {
            Some(Piece::Template(text)) => Segment::Template(text),
            Some(Piece::UserText(text)) => Segment::User(text),
            Some(Piece::EmbeddingsIndex(i)) => Segment::Embeddings(tensors[i as usize].clone()),
            None => Segment::Template(String::new()),
        };
        let prompts =
            open.prompts.into_iter().map(|p| Prompt { segments: p.segments.into_iter().map(piece).collect() });
        let mut session = self.language.open(prompts.collect(), &context).await?;
        tell(replies, Reply::Opened(pb::SessionOpened::default())).await;
        for probed in 0.. {
            let Some(message) = requests.message().await?.and_then(|m| m.message) else { return Ok(()) };
            let Ask::Probe(probe) = message else { return Err(Status::invalid_argument("a probe is wanted")) };
            let rows = tensor(requests).await?;
            if probed == self.probes_per_session {
                return Err(Status::unknown("killed"));
            }
            let segment = |s: pb::ProbeSegment| ProbeSegment {
                prompt: s.prompt as usize,
                first_row: s.first_row as usize,
                n_rows: s.n_rows as usize,
            };
            let hidden = session.probe(rows, probe.segments.into_iter().map(segment).collect(), &context).await?;
            for frame in frames(&hidden).map_err(|e| Status::internal(e.to_string()))? {
                tell(replies, Reply::Frame(frame)).await;
            }
        }
        Ok(())
    }
}

async fn tensor(requests: &mut Streaming<pb::SessionRequest>) -> Result<candle_core::Tensor, Status> {
    let frame = |message: pb::SessionRequest| match message.message {
        Some(Ask::Frame(frame)) => Ok(frame),
        _ => Err(unipic_api::ApiError::invalid("frame", "is wanted")),
    };
    receive(requests, FrameLimits::default(), "frame", &Device::Cpu, frame).await
}

async fn tell(replies: &mpsc::Sender<Result<pb::SessionResponse, Status>>, message: Reply) {
    let _ = replies.send(Ok(pb::SessionResponse { message: Some(message) })).await;
}
