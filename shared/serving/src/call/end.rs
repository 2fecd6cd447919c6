//! What ends a call before it is answered.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use unipic_api::{ApiError, Reason};

/// The deadline of a call, and the end of the server's patience while it drains.
pub(super) struct End {
    deadline: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl End {
    pub(super) fn new(deadline: Instant, cut: CancellationToken) -> Self {
        Self { deadline: Box::pin(tokio::time::sleep_until(deadline)), cut: Box::pin(cut.cancelled_owned()) }
    }

    /// Ready with what the caller is told, once the call must end.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<ApiError> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(ApiError::DeadlineExceeded);
        }
        self.cut.as_mut().poll(context).map(|()| ApiError::unavailable(Reason::Draining))
    }
}
