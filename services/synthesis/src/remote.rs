//! The language model over gRPC: one bidirectional stream a generation, which IS the session.
//!
//! The stream is pinned to the replica that its prompts were prefilled on; dropping it, for whatever reason, frees them
//! there. Losing it is no matter: the loop opens another.

mod parcel;

use std::future::Future;

use candle_core::{Device, Tensor};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};
use unipic_api::frames::{Assembler, FrameLimits, RawTensor};
use unipic_api::pb::decoder_client::DecoderClient;
use unipic_api::pb::session_request::Message as Ask;
use unipic_api::pb::session_response::Message as Reply;
use unipic_api::{ApiError, Reason, limits, pb};
use unipic_client::{Connection, Endpoint, NoEndpoints};
use unipic_engine::JobContext;
use unipic_models::Handover;
use unipic_models::prompt::Prompt;
use unipic_serving::{Priority, Tenant};
use unipic_wire::{DecodeError, decode, encode};

use crate::device::engine_error;
use crate::drive::tensor_error;
use crate::language::{LanguageModel, LanguageSession, ProbeSegment, Traffic};
use parcel::{Parcel, pack, prompt_messages};

/// Messages that may wait to be sent; each is a frame of at most 1 MiB.
const WAITING_MESSAGES: usize = 4;

/// The replicas of the decoder service.
#[derive(Clone, Debug)]
pub struct RemoteDecoder {
    client: DecoderClient<Connection>,
}

impl RemoteDecoder {
    /// A decoder at `endpoints`, connected to at the first session. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When there is no endpoint.
    pub fn new(endpoints: &[Endpoint]) -> Result<Self, NoEndpoints> {
        Ok(Self::over(unipic_client::connect(endpoints)?))
    }

    /// A decoder over a connection.
    pub fn over(connection: Connection) -> Self {
        Self { client: unipic_client::decoder(connection) }
    }
}

/// A stream to one replica.
pub struct RemoteSession {
    requests: mpsc::Sender<pb::SessionRequest>,
    replies: Streaming<pb::SessionResponse>,
    traffic: Traffic,
}

impl LanguageModel for RemoteDecoder {
    type Session = RemoteSession;

    fn handover(&self) -> Handover {
        Handover::Host
    }

    async fn open(&self, prompts: Vec<Prompt>, context: &JobContext) -> Result<RemoteSession, ApiError> {
        let (prompts, tensors) = prompt_messages(&prompts);
        let tensors = tensors.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let n_tensors = tensors.len() as u32;
        within(
            context,
            RemoteSession::open(self.client.clone(), pb::SessionOpen { prompts, n_tensors }, tensors, context),
        )
        .await
    }
}

impl LanguageSession for RemoteSession {
    async fn probe(
        &mut self,
        rows: Tensor,
        segments: Vec<ProbeSegment>,
        context: &JobContext,
    ) -> Result<Tensor, ApiError> {
        within(context, self.probe_all(rows, segments)).await
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}

impl RemoteSession {
    async fn open(
        mut client: DecoderClient<Connection>,
        open: pb::SessionOpen,
        tensors: Vec<RawTensor>,
        context: &JobContext,
    ) -> Result<Self, ApiError> {
        let (requests, waiting) = mpsc::channel(WAITING_MESSAGES);
        let mut request = Request::new(ReceiverStream::new(waiting));
        if let Some(deadline) = context.deadline {
            request.set_timeout(Instant::from_std(deadline).saturating_duration_since(Instant::now()));
        }
        Tenant::from(context.tenant.clone()).tell(request.metadata_mut());
        let priority = if context.is_background { Priority::Batch } else { Priority::Interactive };
        priority.tell(request.metadata_mut());
        let mut sent = 0;
        // The prompts' embeddings are larger than what may wait, so they are sent while the call is being opened.
        let feeding = async {
            if tell(&requests, Ask::Open(open)).await {
                for tensor in tensors {
                    sent += send_tensor(&requests, tensor).await;
                }
            }
        };
        let (replies, ()) = tokio::join!(client.session(request), feeding);
        let replies = replies.map_err(|status| ApiError::from_backend(&status))?.into_inner();
        let traffic = Traffic { sent, received: 0 };
        let mut session = Self { requests, replies, traffic };
        match session.reply().await? {
            Reply::Opened(_) => Ok(session),
            Reply::Frame(_) => Err(misspoken("a frame came before the session was opened")),
        }
    }

    /// Probes in as many messages as the largest tensor on the wire allows.
    async fn probe_all(&mut self, rows: Tensor, segments: Vec<ProbeSegment>) -> Result<Tensor, ApiError> {
        let width = rows.dim(1).map_err(tensor_error)?;
        let max_rows = limits::TENSOR_BYTES as usize / (width * size_of::<f32>());
        let mut results: Vec<Option<Tensor>> = vec![None; segments.len()];
        for parcel in pack(&segments, max_rows) {
            let hidden = self.probe_one(&rows, &parcel, width).await?;
            let mut first = 0;
            for (&position, segment) in parcel.positions.iter().zip(&parcel.segments) {
                results[position] = Some(hidden.narrow(0, first, segment.n_rows).map_err(tensor_error)?);
                first += segment.n_rows;
            }
        }
        let results: Vec<Tensor> = results.into_iter().flatten().collect();
        Tensor::cat(&results, 0).map_err(tensor_error)
    }

    async fn probe_one(&mut self, rows: &Tensor, parcel: &Parcel, width: usize) -> Result<Tensor, ApiError> {
        let rows = rows.narrow(0, parcel.first_row, parcel.n_rows).map_err(tensor_error)?;
        let rows = encode(&rows)?;
        let message = |segment: &ProbeSegment| pb::ProbeSegment {
            prompt: segment.prompt as u32,
            first_row: segment.first_row as u32,
            n_rows: segment.n_rows as u32,
        };
        // A stream that is closed against us says why when it is read.
        if tell(&self.requests, Ask::Probe(pb::Probe { segments: parcel.segments.iter().map(message).collect() })).await
        {
            self.traffic.sent += send_tensor(&self.requests, rows).await;
        }
        let hidden = self.tensor().await?;
        let n_rows: usize = parcel.segments.iter().map(|segment| segment.n_rows).sum();
        if hidden.dims() != [n_rows, width] {
            return Err(misspoken("hidden states of another shape came"));
        }
        Ok(hidden)
    }

    async fn tensor(&mut self) -> Result<Tensor, ApiError> {
        let mut assembler = Assembler::new(FrameLimits::default());
        loop {
            let Reply::Frame(frame) = self.reply().await? else {
                return Err(misspoken("the session was opened twice"));
            };
            let raw = assembler.push(frame).map_err(|error| misspoken(&error.to_string()))?;
            if let Some(raw) = raw {
                self.traffic.received += raw.data.len() as u64;
                return decode(&raw, &Device::Cpu).map_err(|error| match error {
                    DecodeError::NonFinite { .. } => ApiError::Fault(Reason::NonFinite),
                    other => misspoken(&other.to_string()),
                });
            }
        }
    }

    async fn reply(&mut self) -> Result<Reply, ApiError> {
        let reply = self.replies.message().await.map_err(|status| ApiError::from_backend(&status))?;
        // A clean end in the middle of a session is a replica that went away.
        let reply = reply.ok_or_else(|| ApiError::unavailable(Reason::BackendUnavailable))?;
        reply.message.ok_or_else(|| misspoken("an empty message came"))
    }
}

/// False when the stream is closed.
async fn tell(requests: &mpsc::Sender<pb::SessionRequest>, message: Ask) -> bool {
    requests.send(pb::SessionRequest { message: Some(message) }).await.is_ok()
}

/// Bytes that were handed to the stream.
async fn send_tensor(requests: &mpsc::Sender<pb::SessionRequest>, tensor: RawTensor) -> u64 {
    let mut sent = 0;
    for frame in tensor.into_frames() {
        let n_bytes = frame.data.len() as u64;
        if !tell(requests, Ask::Frame(frame)).await {
            break;
        }
        sent += n_bytes;
    }
    sent
}

/// The decoder does not keep to the protocol.
fn misspoken(problem: &str) -> ApiError {
    tracing::error!(problem, "the decoder does not keep to the protocol");
    ApiError::Fault(Reason::Bug)
}

/// The work, unless the request is over first.
async fn within<T>(context: &JobContext, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::select! {
        biased;
        error = context.over() => Err(engine_error(error)),
        done = work => done,
    }
}
