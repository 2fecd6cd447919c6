//! Images of a conversation that stand as addresses: fetched when everything else is found right, where the operator allows
//! it.

use bytes::Bytes;
use futures::future::join_all;
use tracing::Instrument;
use unipic_api::limits::PUBLIC_REQUEST_BYTES;
use unipic_api::{ApiError, FieldViolation, pb};
use unipic_fetch::{FetchError, Fetcher};

/// A white pixel, which stands for an image until it is fetched, so that everything else can be judged before.
pub(super) const STAND_IN: &[u8] = include_bytes!("white_pixel.png");

/// An image that is somewhere else, and where it belongs.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) turn: usize,
    pub(super) part: usize,
    /// The field's name as the client knows it.
    pub(super) path: String,
    pub(super) url: String,
}

/// Fetches images into the turns that name them.
///
/// # Errors
/// Every image that could not be fetched, by its field; or all, where they are more bytes than a request may have.
pub(super) async fn fetch(fetcher: &Fetcher, turns: &mut [pb::Turn], remote: Vec<Remote>) -> Result<(), ApiError> {
    let files = join_all(remote.iter().map(|image| fetcher.fetch(&image.url)));
    let files: Vec<Result<Bytes, FetchError>> = files.instrument(tracing::info_span!("fetch")).await;
    let mut violations = Vec::new();
    let mut n_bytes = 0;
    for (image, file) in remote.into_iter().zip(files) {
        match file {
            Ok(file) => {
                n_bytes += file.len();
                let part = turns.get_mut(image.turn).and_then(|turn| turn.parts.get_mut(image.part));
                if let Some(part) = part {
                    part.content = Some(pb::part::Content::Image(file));
                }
            }
            Err(error) => violations.push(FieldViolation::new(image.path, error.to_string())),
        }
    }
    if n_bytes > PUBLIC_REQUEST_BYTES {
        let what = format!("leads to images of {n_bytes} bytes; all of a request's are at most {PUBLIC_REQUEST_BYTES}");
        violations.push(FieldViolation::new("messages", what));
    }
    if violations.is_empty() { Ok(()) } else { Err(ApiError::Invalid(violations)) }
}
