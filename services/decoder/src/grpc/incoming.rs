//! The caller's side of a stream: an opening message, tensors in frames, and what is wrong with them.

use candle_core::{Device, Tensor};
use tonic::{Status, Streaming};
use unipic_api::frames::FrameLimits;
use unipic_api::pb::segment::Piece;
use unipic_api::pb::{answer_request, session_request};
use unipic_api::{ApiError, limits, pb};
use unipic_models::prompt::{Prompt, Segment};
use unipic_wire::{decode, expect_shape, receive_raw};

/// Embedding tensors of one stream: as many as a conversation can show images, and more.
const MAX_TENSORS: u32 = 64;
/// Guidance branches of a session; two are in use.
const MAX_PROMPTS: usize = 8;
/// Segments of a prompt.
const MAX_SEGMENTS: usize = 1024;
/// Bytes of text of a prompt. The gateway's limits are what users meet; this one keeps the tokenizer from minutes of work.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// A message that may carry a frame.
pub(super) trait Carrier {
    /// Its frame.
    fn frame(self) -> Option<pb::TensorFrame>;
}

impl Carrier for pb::SessionRequest {
    fn frame(self) -> Option<pb::TensorFrame> {
        match self.message {
            Some(session_request::Message::Frame(frame)) => Some(frame),
            _ => None,
        }
    }
}

impl Carrier for pb::AnswerRequest {
    fn frame(self) -> Option<pb::TensorFrame> {
        match self.message {
            Some(answer_request::Message::Frame(frame)) => Some(frame),
            _ => None,
        }
    }
}

/// A stream of requests.
pub(super) struct Incoming<M> {
    requests: Streaming<M>,
    width: usize,
}

impl<M: Carrier> Incoming<M> {
    pub(super) fn new(requests: Streaming<M>, width: usize) -> Self {
        Self { requests, width }
    }

    /// The next message; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<M>, Status> {
        self.requests.message().await
    }

    /// The tensors behind an opening message.
    pub(super) async fn tensors(&mut self, n_tensors: u32) -> Result<Vec<Tensor>, Status> {
        if n_tensors > MAX_TENSORS {
            let problem = format!("{n_tensors}; at most {MAX_TENSORS} are accepted");
            return Err(ApiError::invalid("open.n_tensors", problem).into());
        }
        let mut tensors = Vec::new();
        for i in 0..n_tensors {
            tensors.push(self.tensor(&format!("frame of tensor {i}")).await?);
        }
        Ok(tensors)
    }

    /// One tensor of embeddings, f32 `[n, H]`, on the host.
    pub(super) async fn tensor(&mut self, path: &str) -> Result<Tensor, Status> {
        let frame = |message: M| message.frame().ok_or_else(|| ApiError::invalid(path, "is missing"));
        let limits = FrameLimits { max_bytes: limits::TENSOR_BYTES };
        let raw = receive_raw(&mut self.requests, limits, path, frame).await?;
        let raw = raw.ok_or_else(|| ApiError::invalid(path, "is missing"))?;
        let wanted = format!("f32 [rows, {}]", self.width);
        expect_shape(&raw, pb::DType::DtypeF32, &[None, Some(self.width)], &wanted).map_err(|e| e.at(path))?;
        Ok(decode(&raw, &Device::Cpu).map_err(|error| error.at(path))?)
    }
}

impl Incoming<pb::SessionRequest> {
    /// The opening message.
    pub(super) async fn session_open(&mut self) -> Result<pb::SessionOpen, Status> {
        match self.next().await?.and_then(|request| request.message) {
            Some(session_request::Message::Open(open)) => Ok(open),
            _ => Err(ApiError::invalid("open", "must be the first message").into()),
        }
    }
}

impl Incoming<pb::AnswerRequest> {
    /// The opening message.
    pub(super) async fn answer_open(&mut self) -> Result<pb::AnswerOpen, Status> {
        match self.next().await?.and_then(|request| request.message) {
            Some(answer_request::Message::Open(open)) => Ok(open),
            _ => Err(ApiError::invalid("open", "must be the first message").into()),
        }
    }
}

/// Prompts whose embeddings are looked up among the stream's tensors.
pub(super) fn prompts(messages: &[pb::Prompt], tensors: &[Tensor], path: &str) -> Result<Vec<Prompt>, ApiError> {
    if messages.len() > MAX_PROMPTS {
        return Err(ApiError::invalid(path, format!("{}; at most {MAX_PROMPTS} are accepted", messages.len())));
    }
    let prompt = |(i, message): (usize, &pb::Prompt)| prompt(message, tensors, &format!("{path}[{i}]"));
    messages.iter().enumerate().map(prompt).collect()
}

fn prompt(message: &pb::Prompt, tensors: &[Tensor], path: &str) -> Result<Prompt, ApiError> {
    let n = message.segments.len();
    if n > MAX_SEGMENTS {
        return Err(ApiError::invalid(path, format!("{n} segments; at most {MAX_SEGMENTS} are accepted")));
    }
    let segment = |(i, segment): (usize, &pb::Segment)| {
        let path = || format!("{path}.segments[{i}]");
        match &segment.piece {
            Some(Piece::Template(text)) => Ok(Segment::Template(text.clone())),
            Some(Piece::UserText(text)) => Ok(Segment::User(text.clone())),
            Some(Piece::EmbeddingsIndex(index)) => {
                let tensor = tensors.get(*index as usize);
                let missing = || ApiError::invalid(path(), format!("tensor {index} of {}", tensors.len()));
                Ok(Segment::Embeddings(tensor.ok_or_else(missing)?.clone()))
            }
            None => Err(ApiError::invalid(path(), "is empty")),
        }
    };
    let prompt = Prompt { segments: message.segments.iter().enumerate().map(segment).collect::<Result<_, _>>()? };
    let n_bytes = prompt.text_bytes();
    if n_bytes > MAX_TEXT_BYTES {
        return Err(ApiError::invalid(path, format!("{n_bytes} bytes of text; at most {MAX_TEXT_BYTES} are accepted")));
    }
    Ok(prompt)
}
