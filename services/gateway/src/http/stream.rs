//! Server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::Peekable;
use futures::{Stream, StreamExt};

use super::error::HttpError;

/// A comment goes out when there was no event for so long: proxies close connections that are silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Waits for the first event, so that what fails at once is answered with its own status and not within a good one.
pub(super) async fn begun<T, S>(events: S) -> Result<Pin<Box<Peekable<S>>>, HttpError>
where
    S: Stream<Item = Result<T, HttpError>>,
{
    let mut events = Box::pin(events.peekable());
    match events.as_mut().peek().await {
        Some(Err(error)) => Err(error.clone()),
        _ => Ok(events),
    }
}

/// A response of events.
pub(super) fn response(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = Sse::new(kept_alive(events).map(Ok::<_, Infallible>));
    let mut response = events.into_response();
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

/// The last event of a stream that failed.
pub(super) fn failure(error: &HttpError) -> Event {
    let mut data = error.to_json();
    data["type"] = "error".into();
    Event::default().event("error").data(data.to_string())
}
