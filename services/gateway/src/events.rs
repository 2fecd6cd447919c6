//! A flow as a stream of events.
//!
//! The flow runs as a task of its own, so that its deadline holds and its place is freed even when the client has stopped
//! reading; the stream owns the task, so that dropping the stream ends the flow and everything it holds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};
use tracing::Instrument;
use unipic_api::{ApiError, Reason};

use unipic_serving::CallContext;

/// Events that may wait for a client that reads slowly; then the flow waits too.
const CAPACITY: usize = 16;

/// How long a flow waits for a client to take one more event. Without a limit, one that stops reading would keep its place,
/// and the devices' caches with it, until its deadline; no link is so slow that one picture takes longer.
const STALL: Duration = Duration::from_secs(60);

/// Where a flow puts its events.
#[derive(Debug)]
pub(crate) struct Events<T> {
    sender: mpsc::Sender<Result<T, Status>>,
    stall: Duration,
}

impl<T> Clone for Events<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), stall: self.stall }
    }
}

impl<T> Events<T> {
    /// Hands an event to the client.
    ///
    /// # Errors
    /// `Cancelled` when nobody listens any more, ABORTED when the client has stopped reading.
    pub(crate) async fn send(&self, event: impl Into<T>) -> Result<(), ApiError> {
        match tokio::time::timeout(self.stall, self.sender.send(Ok(event.into()))).await {
            Ok(sent) => sent.map_err(|_| ApiError::Cancelled),
            Err(_) => {
                let message = format!("the client has read nothing for {} s", self.stall.as_secs());
                Err(ApiError::Other { code: Code::Aborted, message })
            }
        }
    }

    /// Hands over an event that is not worth waiting for: it is lost when the client reads slowly.
    pub(crate) fn offer(&self, event: impl Into<T>) {
        let _ = self.sender.try_send(Ok(event.into()));
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
        let (deadline, cut_off) = (call.deadline, call.cut_off.clone());
        let flow =
            flow(Events { sender: sender.clone(), stall: STALL }, CallContext { cancel: cancel.clone(), ..call });
        let task = async move {
            let outcome = tokio::select! {
                in_time = tokio::time::timeout_at(deadline, flow) => in_time.unwrap_or(Err(ApiError::DeadlineExceeded)),
                () = cut_off.cancelled() => Err(ApiError::unavailable(Reason::Draining)),
            };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_stops_reading_ends_its_flow() {
        let (sender, mut told) = mpsc::channel::<Result<u32, Status>>(2);
        let events = Events { sender, stall: Duration::from_millis(20) };
        for event in 0..2_u32 {
            assert!(events.send(event).await.is_ok());
        }
        let error = events.send(2_u32).await.err().map(|error| error.code());
        assert_eq!(error, Some(Code::Aborted));
        assert!(told.recv().await.is_some());
        assert!(events.send(3_u32).await.is_ok(), "one that reads again is served again");
        drop(told);
        assert_eq!(events.send(4_u32).await.err().map(|error| error.code()), Some(Code::Cancelled));
    }
}
