//! Server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::Peekable;
use futures::{Stream, StreamExt};
use serde_json::Value;
use unipic_telemetry::web::Outcome;

use super::error::HttpError;

/// A comment goes out when there was no event for so long: proxies close connections that are silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A flow whose first event has come.
pub(super) struct Begun<S: Stream> {
    events: Pin<Box<Peekable<S>>>,
    /// How it ends, where it fails.
    outcome: Outcome,
}

/// Waits for the first event, so that what fails at once is answered with its own status and not within a good one.
pub(super) async fn begun<T, S>(events: S) -> Result<Begun<impl Stream<Item = Result<T, HttpError>>>, HttpError>
where
    S: Stream<Item = Result<T, HttpError>>,
{
    let outcome = Outcome::default();
    let noted = outcome.clone();
    let noting = events.inspect(move |event| {
        if let Err(error) = event {
            noted.set(error.ending());
        }
    });
    let mut events = Box::pin(noting.peekable());
    match events.as_mut().peek().await {
        Some(Err(error)) => Err(error.clone()),
        _ => Ok(Begun { events, outcome }),
    }
}

/// The response of a flow, by the events that are told of it.
pub(super) fn response<S, E>(begun: Begun<S>, told: impl FnOnce(Pin<Box<Peekable<S>>>) -> E) -> Response
where
    S: Stream,
    E: Stream<Item = Event> + Send + 'static,
{
    let events = Sse::new(kept_alive(told(begun.events)).map(Ok::<_, Infallible>));
    let mut response = events.into_response();
    response.extensions_mut().insert(begun.outcome);
    // A proxy that gathers a response before it passes it on would make a stream pointless; this header is its word for it.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// The same events, with a comment wherever there is none for a while.
fn kept_alive(events: impl Stream<Item = Event> + Send + 'static) -> impl Stream<Item = Event> + Send + 'static {
    futures::stream::unfold(Box::pin(events), async |mut events| {
        match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
            Ok(event) => Some((event?, events)),
            Err(_) => Some((Event::default().comment("still at it"), events)),
        }
    })
}

/// An event that OpenAI's API has not; its name is its type as well.
pub(super) fn own(name: &str, mut data: Value) -> Event {
    data["type"] = name.into();
    Event::default().event(name).data(data.to_string())
}

/// The last event of a stream that failed.
pub(super) fn failure(error: &HttpError) -> Event {
    let mut data = error.to_json();
    data["type"] = "error".into();
    Event::default().event("error").data(data.to_string())
}
