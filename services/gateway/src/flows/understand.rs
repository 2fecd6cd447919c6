//! Understand: images to embeddings, embeddings and texts to one prompt, the answer as it comes.

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;
use tracing::Instrument;
use unipic_api::{ApiError, Reason, pb};
use unipic_serving::{CallContext, Tenant};

use super::attempts::Attempts;
use super::{blame, encode, ms_since, take_place};
use crate::admission::Ticket;
use crate::backends::{AnswerEvent, AnswerSpec, Backends};
use crate::events::Events;
use crate::gateway::Gateway;
use crate::prompt::{Said, SaidPart, conversation};
use crate::validation::{TurnPart, UnderstandSpec};

/// Images of one request that are encoded at once.
const ENCODED_AT_ONCE: usize = 4;

/// An event of the flow.
#[derive(Debug, Clone)]
pub(crate) enum UnderstandEvent {
    Queued(pb::Queued),
    Text(String),
    Resumed(pb::Resumed),
    Done(pb::UnderstandDone),
}

impl From<pb::Resumed> for UnderstandEvent {
    fn from(resumed: pb::Resumed) -> Self {
        Self::Resumed(resumed)
    }
}

impl From<pb::Queued> for UnderstandEvent {
    fn from(queued: pb::Queued) -> Self {
        Self::Queued(queued)
    }
}

/// Runs the flow to its end.
pub(crate) async fn understand<B: Backends>(
    gateway: Gateway<B>,
    spec: UnderstandSpec,
    call: CallContext,
    ticket: Ticket,
    events: Events<UnderstandEvent>,
    began: Instant,
) -> Result<(), ApiError> {
    let place = take_place(ticket, &events).await?;
    let (path, seed) = (spec.path, spec.seed);
    let encoding = Instant::now();
    let turns = embed_turns(&gateway, (spec.turns, place.tenant()), path, &call, &events)
        .instrument(tracing::info_span!("encode_images", path = path.as_str_name()))
        .await?;
    let encode_ms = ms_since(encoding);
    let answer = AnswerSpec {
        prompt: conversation(turns),
        max_tokens: spec.max_tokens,
        temperature: spec.temperature,
        top_p: spec.top_p,
        seed,
        stop: spec.stop,
        candidates: spec.candidates,
    };
    let mut speech = Speech { events, said: String::new(), differs: false };
    let span = tracing::info_span!("answer", pieces = answer.prompt.len());
    let done = speak(&gateway, answer, &call, &mut speech).instrument(span).await.map_err(blame::question)?;
    place.done();
    let total_ms = ms_since(began);
    // Counted back from the end: the first token may be part of a character that is not whole yet.
    let first_token_ms = (total_ms - done.decode_ms).max(0.0);
    gateway.shared.metrics.answered(first_token_ms, done.prompt_tokens, done.completion_tokens);
    let summary = pb::UnderstandDone {
        finish_reason: done.finish_reason,
        prompt_tokens: done.prompt_tokens,
        completion_tokens: done.completion_tokens,
        encode_ms,
        first_token_ms,
        total_ms,
        encoder_path: path as i32,
        seed,
        text: speech.said,
        candidate_logprobs: done.candidate_logprobs,
    };
    speech.events.send(UnderstandEvent::Done(summary)).await
}

/// Replaces the images of all turns by their embeddings, in order, a few at a time.
async fn embed_turns<B: Backends>(
    gateway: &Gateway<B>,
    (turns, tenant): (Vec<(pb::Role, Vec<TurnPart>)>, &Tenant),
    path: pb::EncoderPath,
    call: &CallContext,
    events: &Events<UnderstandEvent>,
) -> Result<Vec<Said<B::Embeddings>>, ApiError> {
    let mut said: Vec<_> = turns.iter().map(|(role, _)| Said { role: *role, parts: Vec::new() }).collect();
    let parts = turns.into_iter().enumerate().flat_map(|(turn, (_, parts))| parts.into_iter().map(move |p| (turn, p)));
    let jobs = parts.map(|(turn, part)| async move {
        let part = match part {
            TurnPart::Text(text) => SaidPart::Text(text),
            TurnPart::Image(image) => {
                SaidPart::Image(encode(gateway, (image, tenant), path, call, |event| events.offer(event)).await?)
            }
        };
        Ok::<_, ApiError>((turn, part))
    });
    let embedded: Vec<_> = stream::iter(jobs.collect::<Vec<_>>()).buffered(ENCODED_AT_ONCE).try_collect().await?;
    for (turn, part) in embedded {
        if let Some(said) = said.get_mut(turn) {
            said.parts.push(part);
        }
    }
    Ok(said)
}

/// What the client has heard.
struct Speech {
    events: Events<UnderstandEvent>,
    said: String,
    /// A replay said something else than was said before: no further one can make that good.
    differs: bool,
}

impl Speech {
    /// Hands on what is new in `text`, the whole answer so far of the current attempt. False where nothing is.
    ///
    /// # Errors
    /// A loss that cannot be made good, when a replay says something else than was said before.
    async fn hear(&mut self, text: &str) -> Result<bool, ApiError> {
        if let Some(new) = text.strip_prefix(self.said.as_str()) {
            if !new.is_empty() {
                self.events.send(UnderstandEvent::Text(new.to_owned())).await?;
                self.said.push_str(new);
            }
            return Ok(!new.is_empty());
        }
        if self.said.starts_with(text) {
            return Ok(false);
        }
        tracing::error!("a replayed answer differs from what was already sent");
        self.differs = true;
        Err(ApiError::unavailable(Reason::BackendUnavailable))
    }
}

/// Has the prompt answered; again where the decoder was lost.
async fn speak<B: Backends>(
    gateway: &Gateway<B>,
    spec: AnswerSpec<B::Embeddings>,
    call: &CallContext,
    speech: &mut Speech,
) -> Result<pb::AnswerDone, ApiError> {
    let mut attempts = Attempts::begin(gateway, pb::Backend::Decoder, call.deadline);
    loop {
        let error = match attempt(gateway, spec.clone(), call, speech, &mut attempts).await {
            Err(error) if !speech.differs => error,
            outcome => return outcome.inspect(|_| attempts.ended_well()),
        };
        attempts.make_good(error, |event| speech.events.offer(event)).await?;
    }
}

/// One answer from its start to its end or its loss.
async fn attempt<B: Backends>(
    gateway: &Gateway<B>,
    spec: AnswerSpec<B::Embeddings>,
    call: &CallContext,
    speech: &mut Speech,
    attempts: &mut Attempts,
) -> Result<pb::AnswerDone, ApiError> {
    let mut replies = gateway.shared.backends.answer(spec, call).await?;
    let mut text = String::new();
    while let Some(reply) = replies.next().await {
        match reply? {
            AnswerEvent::Text(delta) => {
                text.push_str(&delta);
                if speech.hear(&text).await? {
                    attempts.worked();
                }
            }
            AnswerEvent::Done(done) => return Ok(done),
        }
    }
    Err(ApiError::unavailable(Reason::BackendUnavailable))
}
