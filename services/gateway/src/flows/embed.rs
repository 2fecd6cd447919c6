//! Embed: an image to the embeddings that the language model sees.

use unipic_api::{ApiError, pb};
use unipic_serving::CallContext;

use super::encode;
use crate::admission::Ticket;
use crate::backends::Backends;
use crate::events::Events;
use crate::gateway::Gateway;
use crate::validation::EmbedSpec;

/// Runs the flow to its end. The responses are frames and have no event for waiting or for a loss.
pub(crate) async fn embed<B: Backends>(
    gateway: Gateway<B>,
    spec: EmbedSpec,
    call: CallContext,
    ticket: Ticket,
    events: Events<pb::EmbedResponse>,
) -> Result<(), ApiError> {
    let place = ticket.wait(|_| ()).await?;
    let embeddings = encode(&gateway, (spec.image, place.tenant()), spec.path, &call, |_| ()).await?;
    for frame in gateway.shared.backends.frames(embeddings).await? {
        events.send(pb::EmbedResponse { frame: Some(frame) }).await?;
    }
    place.done();
    Ok(())
}
