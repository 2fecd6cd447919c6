//! A flow as a stream of events.
//!
//! The flow runs as a task of its own, so that its deadline holds and its place is freed even when the client has stopped
//! reading; the stream owns the task, so that dropping the stream ends the flow and everything it holds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tracing::Instrument;
use unipic_api::{ApiError, Reason};

use unipic_serving::CallContext;

/// Events that may wait for a client that reads slowly; then the flow waits too.
const CAPACITY: usize = 16;

/// Where a flow puts its events.
#[derive(Debug)]
pub(crate) struct Events<T>(mpsc::Sender<Result<T, Status>>);

impl<T> Clone for Events<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Events<T> {
    /// Hands an event to the client.
    ///
    /// # Errors
    /// `Cancelled` when nobody listens any more.
    pub(crate) async fn send(&self, event: impl Into<T>) -> Result<(), ApiError> {
        self.0.send(Ok(event.into())).await.map_err(|_| ApiError::Cancelled)
    }

    /// Hands over an event that is not worth waiting for: it is lost when the client reads slowly.
    pub(crate) fn offer(&self, event: impl Into<T>) {
        let _ = self.0.try_send(Ok(event.into()));
    }
}

/// A running flow's events; the response body of a streaming method. Dropping it cancels the flow.
#[derive(Debug)]
pub struct EventStream<T> {
    events: mpsc::Receiver<Result<T, Status>>,
    task: AbortOnDropHandle<()>,
    ended: bool,
    _cancel: DropGuard,
}

impl<T: Send + 'static> EventStream<T> {
    /// Starts a flow in the current span. Its error becomes the stream's last item.
    pub(crate) fn spawn<F>(call: CallContext, flow: impl FnOnce(Events<T>, CallContext) -> F) -> Self
    where
        F: Future<Output = Result<(), ApiError>> + Send + 'static,
    {
        let (sender, events) = mpsc::channel(CAPACITY);
        // The call's own token fires when the server drops the response; this one also when only the stream is dropped.
        let cancel = call.cancel.child_token();
        let deadline = call.deadline.into();
        let flow = flow(Events(sender.clone()), CallContext { cancel: cancel.clone(), ..call });
        let task = async move {
            let in_time = tokio::time::timeout_at(deadline, flow).await;
            let outcome = in_time.unwrap_or(Err(ApiError::DeadlineExceeded));
            if let Err(error) = outcome {
                tracing::info!(code = ?error.code(), %error, "the request failed");
                // Nobody listens any more: then nobody misses the error.
                let _ = sender.send(Err(error.into())).await;
            }
        };
        let task = AbortOnDropHandle::new(tokio::spawn(task.in_current_span()));
        Self { events, task, ended: false, _cancel: cancel.drop_guard() }
    }
}

impl<T> Stream for EventStream<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(event) = ready!(self.events.poll_recv(context)) {
            return Poll::Ready(Some(event));
        }
        // The channel also closes when the task panics, and that must not look like a good end.
        let outcome = ready!(Pin::new(&mut self.task).poll(context));
        self.ended = true;
        Poll::Ready(outcome.is_err().then(|| Err(ApiError::Fault(Reason::Bug).into())))
    }
}
