//! What happens to a request once it is judged and has its turn.

mod attempts;
mod blame;
mod embed;
mod image;
mod replay;
mod understand;

pub(crate) use blame::rename;
pub(crate) use embed::embed;
pub(crate) use image::{ImageEvent, ImageFlow, make_images};
pub(crate) use understand::{UnderstandEvent, understand};

use tokio::time::Instant;
use unipic_api::{ApiError, pb};
use unipic_serving::{CallContext, Tenant};

use crate::admission::{Place, Ticket};
use crate::backends::Backends;
use crate::encoded::EncodedCache;
use crate::events::Events;
use crate::gateway::Gateway;
use attempts::Attempts;
use unipic_imaging::Rgb8;

/// Waits for a place, telling the client how many are ahead.
#[tracing::instrument(name = "queue", skip_all)]
pub(crate) async fn take_place<T>(ticket: Ticket, events: &Events<T>) -> Result<Place, ApiError>
where
    pb::Queued: Into<T>,
{
    ticket.wait(|position| events.offer(pb::Queued { position })).await
}

/// Encodes one square image of the path's size, or takes what was made of the same before for the same tenant. `resumed` is
/// told when work has to be done again.
async fn encode<B: Backends>(
    gateway: &Gateway<B>,
    (image, tenant): (Rgb8, &Tenant),
    path: pb::EncoderPath,
    call: &CallContext,
    resumed: impl Fn(pb::Resumed),
) -> Result<B::Embeddings, ApiError> {
    let cache = &gateway.shared.encoded;
    if !cache.is_kept() {
        return encode_anew(gateway, image, path, call, resumed).await;
    }
    let key = EncodedCache::<B::Embeddings>::key(tenant, path, &gateway.model()?.weights_sha256, &image);
    if let Some(embeddings) = cache.get(&key) {
        return Ok(embeddings);
    }
    let embeddings = encode_anew(gateway, image, path, call, resumed).await?;
    cache.put(key, embeddings.clone(), B::embeddings_bytes(&embeddings));
    Ok(embeddings)
}

async fn encode_anew<B: Backends>(
    gateway: &Gateway<B>,
    image: Rgb8,
    path: pb::EncoderPath,
    call: &CallContext,
    resumed: impl Fn(pb::Resumed),
) -> Result<B::Embeddings, ApiError> {
    let backends = &gateway.shared.backends;
    let backend = match path {
        pb::EncoderPath::Siglip2 => pb::Backend::Understanding,
        _ => pb::Backend::Synthesis,
    };
    let mut attempts = Attempts::begin(gateway, backend, call.deadline);
    loop {
        let encoded = match path {
            pb::EncoderPath::Siglip2 => backends.encode_siglip(image.clone(), call).await,
            _ => backends.encode_mar(image.clone(), call).await,
        };
        match encoded {
            Ok(embeddings) => {
                attempts.ended_well();
                return Ok(embeddings);
            }
            Err(error) => attempts.make_good(error, &resumed).await?,
        }
    }
}

/// Milliseconds since a moment.
fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
