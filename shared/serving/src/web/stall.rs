//! A connection whose peer must take what it is sent.
//!
//! A peer that asks and never reads would keep its connection, and the part of the answer that no buffer of the kernel
//! holds, for ever: HTTP/1.1 knows no ping to tell it from a slow one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a write may wait for the peer; no link is so slow that its buffers stay full for longer.
const STALL: Duration = Duration::from_secs(60);

pin_project! {
    /// A connection on which no write waits longer than a minute.
    pub(super) struct Stallable<IO> {
        #[pin]
        io: IO,
        limit: Duration,
        stalled: Option<Pin<Box<Sleep>>>,
    }
}

impl<IO> Stallable<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, limit: STALL, stalled: None }
    }
}

/// Lets a write through, or ends it when writes have waited too long.
fn timed<T>(
    written: Poll<io::Result<T>>,
    stalled: &mut Option<Pin<Box<Sleep>>>,
    limit: Duration,
    context: &mut Context<'_>,
) -> Poll<io::Result<T>> {
    if written.is_ready() {
        *stalled = None;
        return written;
    }
    let stalled = stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
    match stalled.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        Poll::Pending => Poll::Pending,
    }
}

impl<IO: AsyncRead> AsyncRead for Stallable<IO> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite> AsyncWrite for Stallable<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        timed(this.io.poll_write(context, bytes), this.stalled, *this.limit, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        timed(this.io.poll_flush(context), this.stalled, *this.limit, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        timed(this.io.poll_shutdown(context), this.stalled, *this.limit, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        timed(this.io.poll_write_vectored(context, slices), this.stalled, *this.limit, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (mut peer, ours) = tokio::io::duplex(16);
        let mut ours = Stallable { limit: Duration::from_millis(30), ..Stallable::new(ours) };
        let error = ours.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // One that reads again is served again.
        tokio::io::AsyncReadExt::read_exact(&mut peer, &mut [0; 16]).await.unwrap();
        ours.write_all(&[0; 8]).await.unwrap();
    }
}
