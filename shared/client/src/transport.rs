//! What a broken connection is to a caller.
//!
//! tonic reports most breaks as UNKNOWN, a peer's reset as CANCELLED, the caller's own deadline as CANCELLED too, and a
//! stream that just stops as a clean end. A caller needs two things told apart: late, and gone.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use unipic_api::{ApiError, Reason};

use crate::replica::InFlight;

/// The status of an error of the transport.
pub(crate) fn status_of(error: Box<dyn std::error::Error + Send + Sync>) -> Status {
    let status = Status::from_error(error);
    tracing::debug!(%status, "a call broke");
    let is_late = status.code() == Code::DeadlineExceeded || status.message() == "Timeout expired";
    match is_late {
        true => ApiError::DeadlineExceeded.into(),
        false => gone(),
    }
}

/// UNAVAILABLE: the server cannot be reached, or went away in the middle.
pub(crate) fn gone() -> Status {
    ApiError::unavailable(Reason::BackendUnavailable).into()
}

pin_project! {
    /// A response's body whose breaks are statuses, and which counts as a call under way until it is dropped.
    #[derive(Debug)]
    pub struct ReplicaBody {
        #[pin]
        body: tonic::body::Body,
        has_status: bool,
        in_flight: InFlight,
    }
}

impl ReplicaBody {
    /// `has_status`: the headers carried the status already, so no trailers follow.
    pub(crate) fn new(body: tonic::body::Body, has_status: bool, in_flight: InFlight) -> Self {
        Self { body, has_status, in_flight }
    }
}

impl Body for ReplicaBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        match ready!(this.body.poll_frame(context)) {
            Some(Ok(frame)) => {
                *this.has_status |= frame.is_trailers();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(status)) => {
                this.in_flight.broke();
                *this.has_status = true;
                Poll::Ready(Some(Err(status_of(status.into()))))
            }
            None if *this.has_status => Poll::Ready(None),
            None => {
                this.in_flight.broke();
                *this.has_status = true;
                Poll::Ready(Some(Err(gone())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_status && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
