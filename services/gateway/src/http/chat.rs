//! `/v1/chat/completions`: questions about images.

mod answer;
mod messages;
mod remote;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;
use unipic_api::{ApiError, Reason, pb};

use super::error::HttpError;
use super::fields::{Faults, Field, Fields, Kind, Table};
use super::{body, json, models, reply, stream};
use crate::backends::Backends;
use crate::caller::Caller;
use crate::flows::rename;
use crate::gateway::Gateway;
use crate::model::Model;
use answer::Talk;
use messages::Messages;
use remote::Remote;

const ENCODERS: [(&str, pb::EncoderPath); 2] = [("siglip2", pb::EncoderPath::Siglip2), ("mar", pb::EncoderPath::Mar)];

/// The fields of a conversation.
pub(super) const FIELDS: Table = &[
    Field {
        name: "messages",
        kind: Kind::Messages,
        about: "Required. Turns of user and assistant in alternation, a user's first and last. Content is a string or a \
                list of text and image_url parts; images come as data URIs, or as addresses where the server fetches them. \
                There are no system messages: the model was trained without.",
    },
    Field { name: "model", kind: Kind::Text, about: "The model's name as /v1/models tells it, or nothing." },
    Field { name: "max_tokens", kind: Kind::Whole, about: "At most this many tokens are generated." },
    Field { name: "max_completion_tokens", kind: Kind::Whole, about: "The newer name of max_tokens." },
    Field { name: "temperature", kind: Kind::Number, about: "0, the default, picks the likeliest token." },
    Field { name: "top_p", kind: Kind::Number, about: "Draw from the likeliest tokens up to this probability." },
    Field { name: "stop", kind: Kind::Texts, about: "The answer ends before the first of these to appear; at most 8." },
    Field { name: "seed", kind: Kind::Whole, about: "Seed of the draws." },
    Field { name: "stream", kind: Kind::Flag, about: "Server-sent events instead of one answer. Default false." },
    Field { name: "stream_options", kind: Kind::StreamOptions, about: "include_usage: one more chunk with the usage." },
    Field {
        name: "progress",
        kind: Kind::Flag,
        about: "In a stream, also events that OpenAI's API has not: chat.completion.queued with the requests ahead. Default \
                false.",
    },
    Field {
        name: "encoder_path",
        kind: Kind::Choice(&["siglip2", "mar"]),
        about: "Which encoder shows the images. Default: the first that /v1/models tells.",
    },
    Field { name: "n", kind: Kind::Only(&["1"], "there is one answer to a question"), about: "1." },
    Field {
        name: "response_format",
        kind: Kind::Only(&["{\"type\":\"text\"}"], "answers are plain text"),
        about: "Plain text.",
    },
    Field { name: "frequency_penalty", kind: Kind::Only(&["0"], "penalties are not supported"), about: "0." },
    Field { name: "presence_penalty", kind: Kind::Only(&["0"], "penalties are not supported"), about: "0." },
    Field { name: "logprobs", kind: Kind::Only(&["false"], "probabilities are not told"), about: "false." },
    Field { name: "logit_bias", kind: Kind::Only(&["{}"], "tokens cannot be favoured"), about: "Empty." },
    Field { name: "tools", kind: Kind::Only(&["[]"], "the model calls no tools"), about: "None." },
    Field {
        name: "tool_choice",
        kind: Kind::Only(&["\"none\"", "\"auto\""], "the model calls no tools"),
        about: "none.",
    },
    Field { name: "parallel_tool_calls", kind: Kind::Ignored, about: "" },
    Field { name: "metadata", kind: Kind::Ignored, about: "" },
    Field { name: "safety_identifier", kind: Kind::Ignored, about: "" },
    Field { name: "service_tier", kind: Kind::Ignored, about: "" },
    Field { name: "store", kind: Kind::Ignored, about: "Nothing is stored here." },
    Field { name: "user", kind: Kind::Ignored, about: "" },
];

/// A question that can be asked; limits are judged behind.
struct Question {
    request: pb::UnderstandRequest,
    /// Images that are still to be fetched into it.
    remote: Vec<Remote>,
    faults: Faults,
    is_streamed: bool,
    include_usage: bool,
    /// Whether a stream tells the queue too.
    is_progress_told: bool,
}

/// Answers a conversation's last turn.
pub(super) async fn complete<B: Backends>(
    State(gateway): State<Gateway<B>>,
    request: Request,
) -> Result<Response, HttpError> {
    let caller = Caller::of_http(&request)?;
    let model = gateway.model()?;
    let text = body::json(request, body::conversation_bytes(&gateway.shared.config.limits)).await?;
    // Megabytes of base64 would hold up every other request of this thread.
    let (span, asked) = (tracing::Span::current(), model.clone());
    let fetcher = gateway.shared.fetcher.as_ref();
    let is_remote = fetcher.is_some();
    let reading = tokio::task::spawn_blocking(move || span.in_scope(|| read(text, &asked, is_remote)));
    let mut question = reading.await.map_err(|_| ApiError::Fault(Reason::Bug))??;
    if !question.faults.is_empty() || !question.remote.is_empty() {
        // Nothing is fetched for a request that is refused anyway.
        let judged = gateway.judge_understand(question.request.clone(), &caller).await.map_err(public);
        if !question.faults.is_empty() || judged.is_err() {
            return Err(question.faults.and(judged).into());
        }
    }
    if let Some(fetcher) = fetcher {
        remote::fetch(fetcher, &mut question.request.turns, question.remote).await?;
    }
    let events = gateway.start_understand(question.request, caller).await.map_err(public)?;
    let events = events.map(|event| event.map_err(|status| public(ApiError::from_status(&status)).into()));
    let mut talk = Talk::new(&model, question.include_usage, question.is_progress_told);
    if question.is_streamed {
        let begun = stream::begun(events).await?;
        let first = futures::stream::iter([talk.opening()]);
        return Ok(stream::response(begun, move |events| {
            first.chain(events.map(move |event| talk.events(event)).flat_map(futures::stream::iter))
        }));
    }
    Ok(reply(StatusCode::OK, &talk.whole(events).await?))
}

/// Reads a request.
fn read(text: Bytes, model: &Model, is_remote: bool) -> Result<Question, HttpError> {
    let given =
        json::object(&text).map_err(|error| ApiError::invalid("body", format!("is no JSON object: {error}")))?;
    drop(text);
    let mut fields = Fields::new(given, &[FIELDS]);
    models::check_name(fields.text("model"), model)?;
    let Messages { turns, remote } = messages::messages(&mut fields, is_remote);
    let is_streamed = fields.flag("stream").unwrap_or(false);
    let include_usage = include_usage(&mut fields, is_streamed);
    let is_progress_told = fields.progress(is_streamed);
    let request = pb::UnderstandRequest {
        turns,
        max_tokens: max_tokens(&mut fields),
        temperature: fields.number("temperature"),
        top_p: fields.number("top_p"),
        stop: stop(&mut fields),
        seed: fields.whole("seed"),
        encoder_path: fields.choice("encoder_path", &ENCODERS).unwrap_or_default() as i32,
        candidates: Vec::new(),
    };
    let faults = fields.finish();
    Ok(Question { request, remote, faults, is_streamed, include_usage, is_progress_told })
}

/// The limit of tokens under either of its names.
fn max_tokens(fields: &mut Fields) -> Option<u32> {
    let (old, new) = (fields.count("max_tokens"), fields.count("max_completion_tokens"));
    if old.is_some() && new.is_some() && old != new {
        fields.wrong("max_tokens", "differs from max_completion_tokens, which means the same; leave one out");
    }
    new.or(old)
}

fn include_usage(fields: &mut Fields, is_streamed: bool) -> bool {
    let Some(options) = fields.take("stream_options") else { return false };
    if !is_streamed {
        fields.wrong("stream_options", "needs \"stream\": true");
    }
    let usage = options.get("include_usage").and_then(Value::as_bool);
    let others = options.as_object().is_none_or(|options| options.len() > usize::from(usage.is_some()));
    if others {
        fields.wrong("stream_options", "must be an object with include_usage, true or false, and nothing else");
    }
    usage.unwrap_or(false)
}

fn stop(fields: &mut Fields) -> Vec<String> {
    let texts = match fields.take("stop") {
        None => return Vec::new(),
        Some(Value::String(text)) => return vec![text],
        Some(Value::Array(texts)) => texts,
        Some(_) => Vec::from([Value::Null]),
    };
    let n = texts.len();
    let texts: Vec<_> = texts.into_iter().filter_map(|text| text.as_str().map(str::to_owned)).collect();
    if texts.len() < n {
        fields.wrong("stop", "must be a string or a list of strings");
    }
    texts
}

/// An error with its fields named as in this API.
fn public(error: ApiError) -> ApiError {
    let mut renamed = rename(error, |field| match field.strip_prefix("turns") {
        Some(rest) => format!("messages{}", rest.replace(".parts", ".content").replace("].image", "].image_url")),
        None => field.to_owned(),
    });
    if let ApiError::Invalid(violations) = &mut renamed {
        for violation in violations {
            let words = violation.description.replace("ROLE_USER", "user").replace("ROLE_ASSISTANT", "assistant");
            violation.description = words;
        }
    }
    renamed
}
