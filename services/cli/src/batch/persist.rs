//! A row's request, made until it works or trying again is pointless.
//!
//! The client tries again only while nothing has begun. A batch may go further: a request has no effect but its result, so
//! a full queue and a server that went away in the middle are tried again too.

use std::time::Duration;

use unipic_api::{ApiError, pb};
use unipic_client::{ClientError, UniPicClient};

use crate::images::ImageRequest;

/// How often a request is made in all before its failure counts.
const ATTEMPTS: u32 = 6;

/// The pause before the second attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Makes a row's images.
///
/// # Errors
/// The server's, the last time.
pub(super) async fn make(request: &ImageRequest, client: &UniPicClient) -> anyhow::Result<Vec<pb::ImageResult>> {
    let mut made = 0;
    loop {
        let error = match request.clone().make(client, |_| {}).await {
            Ok(images) => return Ok(images),
            Err(error) => error,
        };
        made += 1;
        match pause(&error, made) {
            Some(pause) if made < ATTEMPTS => tokio::time::sleep(pause).await,
            _ => return Err(error),
        }
    }
}

/// Whether the row may be right and the server is at fault.
pub(super) fn is_the_servers(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ClientError>().is_some_and(|error| !matches!(error.api(), ApiError::Invalid(_)))
}

/// The pause after which another attempt may work.
fn pause(error: &anyhow::Error, made: u32) -> Option<Duration> {
    let error = error.downcast_ref::<ClientError>()?.api();
    let asked = match error {
        ApiError::Overloaded { retry_after, .. } | ApiError::QuotaExceeded { retry_after, .. } => Some(*retry_after),
        ApiError::Unavailable { retry_after, .. } => *retry_after,
        _ => None,
    };
    let pause = FIRST_PAUSE * 2_u32.saturating_pow(made.saturating_sub(1));
    error.is_transient().then(|| asked.map_or(pause, |asked| asked.max(pause)))
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn what_may_work_later_is_tried_later() {
        let error = |status| anyhow::Error::from(ClientError::from(status));
        assert_eq!(pause(&error(Status::unavailable("x")), 1), Some(FIRST_PAUSE));
        assert_eq!(pause(&error(Status::unavailable("x")), 3), Some(4 * FIRST_PAUSE));
        let asked = ClientError::from(ApiError::Unavailable {
            reason: unipic_api::Reason::Loading,
            retry_after: Some(Duration::from_secs(9)),
        });
        assert_eq!(pause(&asked.into(), 1), Some(Duration::from_secs(9)));
        for hopeless in [Status::invalid_argument("x"), Status::internal("x"), Status::deadline_exceeded("x")] {
            assert_eq!(pause(&error(hopeless), 1), None);
        }
        assert!(is_the_servers(&error(Status::unavailable("x"))));
        assert!(!is_the_servers(&ClientError::from(ApiError::invalid("prompt", "x")).into()));
        assert!(!is_the_servers(&anyhow::anyhow!("no such file")));
    }
}
