//! What happens to a request once it is judged and has its turn.

mod blame;
mod embed;
mod image;
mod replay;
mod understand;

pub(crate) use blame::rename;
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

/// Encodes one square image of the path's size. `resumed` is told when that has to be done again.
async fn encode<B: Backends>(
    gateway: &Gateway<B>,
    image: Rgb8,
    path: pb::EncoderPath,
    call: &CallContext,
    resumed: impl Fn(pb::Resumed),
) -> Result<B::Embeddings, ApiError> {
    let (backends, retries) = (&gateway.shared.backends, &gateway.shared.retries);
    let (what, budget) = match path {
        pb::EncoderPath::Siglip2 => (pb::Backend::Understanding, &retries.understanding),
        _ => (pb::Backend::Synthesis, &retries.synthesis),
    };
    let mut patience = budget.begin(Some(call.deadline));
    loop {
        let encoded = match path {
            pb::EncoderPath::Siglip2 => backends.encode_siglip(image.clone(), call).await,
            _ => backends.encode_mar(image.clone(), call).await,
        };
        match encoded {
            Ok(embeddings) => return Ok(embeddings),
            Err(error) => replay::make_good(&mut patience, error, what, &resumed).await?,
        }
    }
}

/// Milliseconds since a moment.
fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
