//! An answer as OpenAI's clients read it: one object, or chunks.

use axum::response::sse::Event;
use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use unipic_api::{ApiError, Reason, pb};

use crate::flows::UnderstandEvent;
use crate::http::error::HttpError;
use crate::http::{now, stream};
use crate::model::Model;

/// What every part of an answer carries.
#[derive(Debug)]
pub(super) struct Talk {
    id: String,
    created: u64,
    model: String,
    /// The weights: the same ones answer the same with the same seed.
    fingerprint: String,
    include_usage: bool,
    is_progress_told: bool,
}

impl Talk {
    pub(super) fn new(model: &Model, include_usage: bool, is_progress_told: bool) -> Self {
        Self {
            id: format!("chatcmpl-{:032x}", fastrand::u128(..)),
            created: now(),
            model: model.name.clone(),
            fingerprint: model.weights_sha256.chars().take(16).collect(),
            include_usage,
            is_progress_told,
        }
    }

    /// Everything in one object, at the end.
    pub(super) async fn whole(
        self,
        mut events: impl Stream<Item = Result<UnderstandEvent, HttpError>> + Unpin,
    ) -> Result<Value, HttpError> {
        while let Some(event) = events.next().await {
            if let UnderstandEvent::Done(done) = event? {
                let choice = json!({
                    "index": 0,
                    "message": { "role": "assistant", "content": done.text, "refusal": null },
                    "logprobs": null,
                    "finish_reason": finish_reason(&done),
                });
                let mut answer = self.object("chat.completion", json!([choice]));
                answer["usage"] = usage(&done);
                return Ok(answer);
            }
        }
        // A flow that ends well ends with its summary.
        Err(ApiError::Fault(Reason::Bug).into())
    }

    fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": self.fingerprint, "choices": choices,
        })
    }

    /// The first chunk.
    pub(super) fn opening(&self) -> Event {
        self.chunk(&json!({ "role": "assistant", "content": "" }), None)
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Event {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
        let mut chunk = self.object("chat.completion.chunk", json!([choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        Event::default().data(chunk.to_string())
    }

    /// The chunks for one event of the flow.
    pub(super) fn events(&mut self, event: Result<UnderstandEvent, HttpError>) -> Vec<Event> {
        match event {
            Ok(UnderstandEvent::Queued(queued)) if self.is_progress_told => {
                vec![stream::own("chat.completion.queued", json!({ "position": queued.position }))]
            }
            Ok(UnderstandEvent::Queued(_) | UnderstandEvent::Resumed(_)) => Vec::new(),
            Ok(UnderstandEvent::Text(text)) => vec![self.chunk(&json!({ "content": text }), None)],
            Ok(UnderstandEvent::Done(done)) => {
                let mut chunks = vec![self.chunk(&json!({}), Some(finish_reason(&done)))];
                if self.include_usage {
                    let mut last = self.object("chat.completion.chunk", json!([]));
                    last["usage"] = usage(&done);
                    chunks.push(Event::default().data(last.to_string()));
                }
                chunks.push(Event::default().data("[DONE]"));
                chunks
            }
            Err(error) => vec![stream::failure(&error)],
        }
    }
}

fn finish_reason(done: &pb::UnderstandDone) -> &'static str {
    match pb::FinishReason::try_from(done.finish_reason) {
        Ok(pb::FinishReason::Length) => "length",
        _ => "stop",
    }
}

fn usage(done: &pb::UnderstandDone) -> Value {
    json!({
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "total_tokens": u64::from(done.prompt_tokens) + u64::from(done.completion_tokens),
    })
}
