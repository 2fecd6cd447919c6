//! The decoder's answer stream, both ways.

use futures::{StreamExt, stream};
use tonic::Streaming;
use unipic_api::frames::RawTensor;
use unipic_api::pb::{self, answer_request, answer_response, segment};

use super::failed;
use crate::backends::{AnswerEvent, AnswerSpec, PromptPiece, ReplyStream};

/// The prompt and its settings, then the frames of its embeddings.
pub(super) fn requests(spec: AnswerSpec<RawTensor>) -> impl Iterator<Item = pb::AnswerRequest> {
    let mut tensors: Vec<RawTensor> = Vec::new();
    let mut segments = Vec::with_capacity(spec.prompt.len());
    for piece in spec.prompt {
        let piece = match piece {
            PromptPiece::Template(text) => segment::Piece::Template(text),
            PromptPiece::User(text) => segment::Piece::UserText(text),
            PromptPiece::Embeddings(tensor) => {
                tensors.push(tensor);
                // Conversations hold a handful of images.
                segment::Piece::EmbeddingsIndex(tensors.len() as u32 - 1)
            }
        };
        segments.push(pb::Segment { piece: Some(piece) });
    }
    let open = pb::AnswerOpen {
        prompt: Some(pb::Prompt { segments }),
        n_tensors: tensors.len() as u32,
        max_tokens: spec.max_tokens,
        temperature: spec.temperature,
        top_p: spec.top_p,
        seed: spec.seed,
        stop: spec.stop,
        candidates: spec.candidates,
    };
    let frames = tensors.into_iter().flat_map(RawTensor::into_frames).map(answer_request::Message::Frame);
    let messages = std::iter::once(answer_request::Message::Open(open)).chain(frames);
    messages.map(|message| pb::AnswerRequest { message: Some(message) })
}

/// The replies as events. Ends after its first error.
pub(super) fn events(replies: Streaming<pb::AnswerResponse>) -> ReplyStream<AnswerEvent> {
    let next = |replies: Option<Streaming<pb::AnswerResponse>>| async {
        let mut replies = replies?;
        loop {
            let message = match replies.next().await? {
                Ok(reply) => reply.message,
                Err(status) => return Some((Err(failed("decoder", &status)), None)),
            };
            let event = match message {
                Some(answer_response::Message::TextDelta(text)) => AnswerEvent::Text(text),
                Some(answer_response::Message::Done(done)) => AnswerEvent::Done(done),
                // A newer service may say more than we know.
                None => continue,
            };
            return Some((Ok(event), Some(replies)));
        }
    };
    stream::unfold(Some(replies), next).boxed()
}
