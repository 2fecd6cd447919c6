//! A request's body that must keep a pace: a peer that sends half of it and stops, or a byte now and then, would hold its
//! connection, and whatever waits for the rest, for as long as it likes.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

/// How long a peer may be behind the pace.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// Bytes a second below which nobody uploads on purpose.
const PACE: u64 = 16 << 10;

/// The peer has sent its request's body too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowUpload;

impl std::error::Error for SlowUpload {}

impl fmt::Display for SlowUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body came too slowly")
    }
}

pin_project! {
    /// A body that fails with [`SlowUpload`] when its peer falls behind. The clock runs from the first poll: until
    /// somebody reads, the peer is not to blame.
    #[derive(Debug)]
    pub struct PacedBody<B> {
        #[pin]
        body: B,
        patience: Duration,
        clock: Option<Clock>,
    }
}

/// Runs while a peer is to send something.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    patience: Duration,
    bytes: u64,
    limit: Pin<Box<Sleep>>,
}

impl Clock {
    pub(crate) fn start(patience: Duration) -> Self {
        Self { start: Instant::now(), patience, bytes: 0, limit: Box::pin(tokio::time::sleep(patience)) }
    }

    /// Gives the time that so many bytes more may take.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.limit.as_mut().reset(self.start + self.patience + due(self.bytes));
    }

    /// Ready when the peer is too far behind.
    pub(crate) fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.limit.as_mut().poll(context)
    }
}

/// When so many bytes must have come, at the pace.
fn due(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / PACE)
}

impl<B> PacedBody<B> {
    /// Puts `body` on the clock.
    pub fn new(body: B) -> Self {
        Self { body, patience: PATIENCE, clock: None }
    }
}

impl<B> Body for PacedBody<B>
where
    B: Body<Data = bytes::Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        let this = self.project();
        let clock = this.clock.get_or_insert_with(|| Clock::start(*this.patience));
        match this.body.poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                clock.received(frame.data_ref().map_or(0, bytes::Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(ended) => Poll::Ready(ended.map(|frame| frame.map_err(Into::into))),
            Poll::Pending if clock.poll_late(context).is_ready() => Poll::Ready(Some(Err(SlowUpload.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// A body that sends some pieces at once and nothing after them.
    fn body(pieces: usize, ends: bool) -> PacedBody<impl Body<Data = Bytes, Error = std::io::Error>> {
        let piece = || Ok(Frame::data(Bytes::from_static(&[0; 64])));
        let sent = stream::repeat_with(piece).take(pieces);
        let rest = if ends { stream::empty().left_stream() } else { stream::pending().right_stream() };
        PacedBody { patience: Duration::from_millis(30), ..PacedBody::new(StreamBody::new(Box::pin(sent.chain(rest)))) }
    }

    #[tokio::test]
    async fn a_body_that_stops_in_the_middle_fails() {
        for pieces in [0, 1, 3] {
            let error = body(pieces, false).collect().await.map(drop).unwrap_err();
            assert!(error.is::<SlowUpload>(), "{error}");
            assert_eq!(body(pieces, true).collect().await.unwrap().to_bytes().len(), 64 * pieces);
        }
    }

    #[test]
    fn more_bytes_may_take_longer() {
        assert_eq!(due(0), Duration::ZERO);
        assert_eq!(due(PACE * 60), Duration::from_secs(60));
        assert!(due(u64::MAX) > due(1 << 40));
    }
}
