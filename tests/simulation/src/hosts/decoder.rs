//! The language model: sessions of a generation, and answers.

use futures::StreamExt;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};
use unipic_api::frames::RawTensor;
use unipic_api::pb::decoder_server::{Decoder, DecoderServer};
use unipic_api::pb::segment::Piece;
use unipic_api::pb::{self, answer_request, answer_response, session_request, session_response};
use unipic_api::{ApiError, Reason};
use unipic_serving::Services;

use super::{Held, Host, Memory, Replies, compute, matrix, reply, rows, tell, tensor};
use crate::mutant::Mutant;
use crate::truth::{self, WIDTH};

/// Sessions and answers at once; one more is refused with the time to come back.
const MOST: usize = 4;

/// Runs the process until it is stopped.
pub(crate) async fn decoder(host: Host) -> turmoil::Result {
    let service = DecoderServer::new(Scripted { host: host.clone(), before: Memory::default() });
    host.serve(Services::new().await.add(service).await).await
}

#[derive(Clone)]
struct Scripted {
    host: Host,
    before: Memory,
}

impl Scripted {
    fn enter(&self) -> Result<Held, ApiError> {
        let retry_after = std::time::Duration::from_millis(100);
        if self.host.held.now() < MOST {
            return Ok(self.host.held.hold());
        }
        Err(match self.host.is(Mutant::FailsWhenFull) {
            true => ApiError::Fault(Reason::Bug),
            false => ApiError::Overloaded { reason: Reason::QueueFull, retry_after },
        })
    }

    /// What a session goes on from.
    fn opened(&self, prompts: Vec<u64>) -> Vec<u64> {
        if !self.host.is(Mutant::LeakedSession) {
            return prompts;
        }
        let before = self.before.swap(prompts.clone());
        let leaked = prompts.iter().zip(before.into_iter().map(Some).chain(std::iter::repeat(None)));
        leaked.map(|(prompt, before)| before.map_or(*prompt, |before| truth::mix(*prompt, before))).collect()
    }

    /// How often a word is said.
    fn times(&self, index: u32) -> usize {
        1 + usize::from(self.host.is(Mutant::RepeatsWord) && index == 2)
    }
}

/// What the model makes of a prompt whose embeddings came with it.
fn understood(prompt: &pb::Prompt, tensors: &[RawTensor]) -> u64 {
    let pieces = || prompt.segments.iter().filter_map(|segment| segment.piece.as_ref());
    let texts = pieces().filter_map(|piece| match piece {
        Piece::UserText(text) => Some(text.as_str()),
        _ => None,
    });
    let shown = pieces().filter_map(|piece| match piece {
        Piece::EmbeddingsIndex(index) => tensors.get(*index as usize).map(|tensor| tensor.data.as_ref()),
        _ => None,
    });
    truth::prompt(texts, shown)
}

fn wrong(what: &str) -> ApiError {
    ApiError::invalid("message", format!("{what} was expected"))
}

fn frame_of_session(request: pb::SessionRequest) -> Option<pb::TensorFrame> {
    match request.message {
        Some(session_request::Message::Frame(frame)) => Some(frame),
        _ => None,
    }
}

fn frame_of_answer(request: pb::AnswerRequest) -> Option<pb::TensorFrame> {
    match request.message {
        Some(answer_request::Message::Frame(frame)) => Some(frame),
        _ => None,
    }
}

/// A session from its prompts to its caller's end.
async fn converse(
    scripted: Scripted,
    mut asked: Streaming<pb::SessionRequest>,
    replies: mpsc::Sender<Result<pb::SessionResponse, Status>>,
) -> Result<(), ApiError> {
    use session_request::Message as Ask;
    let message = |message| pb::SessionResponse { message: Some(message) };
    let first = asked.message().await.map_err(|status| ApiError::from_backend(&status))?;
    let Some(Ask::Open(open)) = first.and_then(|first| first.message) else { return Err(wrong("an opening")) };
    let mut tensors = Vec::new();
    for _ in 0..open.n_tensors {
        tensors.push(tensor(&mut asked, frame_of_session).await?);
    }
    let prompts = scripted.opened(open.prompts.iter().map(|prompt| understood(prompt, &tensors)).collect());
    compute(prompts.iter().fold(0, |a, b| truth::mix(a, *b)), 5, 60).await;
    tell(&replies, message(session_response::Message::Opened(pb::SessionOpened::default()))).await?;
    while let Some(request) = asked.next().await {
        let request = request.map_err(|status| ApiError::from_backend(&status))?;
        let Some(Ask::Probe(probe)) = request.message else { return Err(wrong("a probe")) };
        let shown = tensor(&mut asked, frame_of_session).await?;
        compute(truth::digest(&shown.data), 5, 50).await;
        for frame in probed(&probe, &rows(&shown), &prompts)?.into_frames() {
            tell(&replies, message(session_response::Message::Frame(frame))).await?;
        }
    }
    Ok(())
}

/// Hidden states of all segments.
fn probed(probe: &pb::Probe, rows: &[Vec<f32>], prompts: &[u64]) -> Result<RawTensor, ApiError> {
    let mut hidden = Vec::new();
    for segment in &probe.segments {
        let prompt = prompts.get(segment.prompt as usize).ok_or_else(|| wrong("a known prompt"))?;
        for row in segment.first_row..segment.first_row + segment.n_rows {
            let row = rows.get(row as usize).ok_or_else(|| wrong("a known row"))?;
            hidden.extend(truth::hidden(*prompt, row));
        }
    }
    matrix(hidden.len() / WIDTH, WIDTH, &hidden)
}

/// An answer, a word at a time.
async fn answer(
    scripted: Scripted,
    mut asked: Streaming<pb::AnswerRequest>,
    replies: mpsc::Sender<Result<pb::AnswerResponse, Status>>,
) -> Result<(), ApiError> {
    let message = |message| pb::AnswerResponse { message: Some(message) };
    let first = asked.message().await.map_err(|status| ApiError::from_backend(&status))?;
    let Some(answer_request::Message::Open(open)) = first.and_then(|first| first.message) else {
        return Err(wrong("an opening"));
    };
    let mut tensors = Vec::new();
    for _ in 0..open.n_tensors {
        tensors.push(tensor(&mut asked, frame_of_answer).await?);
    }
    let prompt = understood(&open.prompt.clone().unwrap_or_default(), &tensors);
    for index in 0..open.max_tokens {
        compute(truth::mix(prompt, index.into()), 5, 60).await;
        let text = truth::word(prompt, open.seed, index);
        for _ in 0..scripted.times(index) {
            tell(&replies, message(answer_response::Message::TextDelta(text.clone()))).await?;
        }
    }
    let finish_reason = pb::FinishReason::Length.into();
    let done = pb::AnswerDone { finish_reason, completion_tokens: open.max_tokens, ..Default::default() };
    tell(&replies, message(answer_response::Message::Done(done))).await
}

#[tonic::async_trait]
impl Decoder for Scripted {
    type SessionStream = Replies<pb::SessionResponse>;
    type AnswerStream = Replies<pb::AnswerResponse>;

    async fn session(
        &self,
        request: Request<Streaming<pb::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (held, scripted) = (self.enter()?, self.clone());
        Ok(reply(held, |replies| converse(scripted, request.into_inner(), replies)))
    }

    async fn answer(
        &self,
        request: Request<Streaming<pb::AnswerRequest>>,
    ) -> Result<Response<Self::AnswerStream>, Status> {
        let (held, scripted) = (self.enter()?, self.clone());
        Ok(reply(held, |replies| answer(scripted, request.into_inner(), replies)))
    }

    async fn get_decoder_info(
        &self,
        _: Request<pb::GetDecoderInfoRequest>,
    ) -> Result<Response<pb::GetDecoderInfoResponse>, Status> {
        Ok(Response::new(pb::GetDecoderInfoResponse {
            llm_width: WIDTH as u32,
            context_length: 4096,
            vocab_size: 512,
            weights_sha256: "cc".to_owned(),
            notices: Vec::new(),
        }))
    }
}
