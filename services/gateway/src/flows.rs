//! What happens to a request once it is judged and has its turn.

mod blame;
mod embed;
mod image;
mod replay;
mod understand;

pub(crate) use embed::embed;
pub(crate) use image::{ImageEvent, ImageFlow, make_images};
pub(crate) use understand::{UnderstandEvent, understand};

use std::time::Instant;

use unipic_api::{ApiError, pb};
use unipic_serving::CallContext;

use crate::admission::{Place, Ticket};
use crate::backends::Backends;
use crate::events::Events;
use crate::gateway::Gateway;
use unipic_imaging::Rgb8;

/// Waits for a place, telling the client how many are ahead.
#[tracing::instrument(name = "queue", skip_all)]
pub(crate) async fn take_place<T>(ticket: Ticket, events: &Events<T>) -> Result<Place, ApiError>
where
    pb::Queued: Into<T>,
{
    ticket.wait(|position| events.offer(pb::Queued { position })).await
}

/// Encodes one square image of the path's size.
async fn encode<B: Backends>(
    gateway: &Gateway<B>,
    image: Rgb8,
    path: pb::EncoderPath,
    call: &CallContext,
) -> Result<B::Embeddings, ApiError> {
    let backends = &gateway.shared.backends;
    match path {
        pb::EncoderPath::Siglip2 => {
            retry_once(gateway, "understanding", || backends.encode_siglip(image.clone(), call)).await
        }
        _ => retry_once(gateway, "synthesis", || backends.encode_mar(image.clone(), call)).await,
    }
}

/// A stateless call: where a replica was lost, another may do it.
async fn retry_once<B, T, F: Future<Output = Result<T, ApiError>>>(
    gateway: &Gateway<B>,
    backend: &'static str,
    call: impl Fn() -> F,
) -> Result<T, ApiError> {
    match call().await {
        Err(error) if replay::is_loss(&error) => {
            tracing::warn!(%error, "a backend was lost; trying once more");
            let retries = &gateway.shared.metrics.retries;
            retries.retried(backend);
            call().await.inspect(|_| retries.failed_over(backend))
        }
        outcome => outcome,
    }
}

/// Milliseconds since a moment.
fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
