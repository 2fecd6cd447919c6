//! Encrypted connections, and why one was refused.
//!
//! A channel hands its errors on as text, and a server that refuses a client's certificate says so only after the client's
//! handshake is over. So the stream itself notes what TLS says, and a call that came to nothing is told by that.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::Uri;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use unipic_api::Reason;
use unipic_tls::{ClientStream, ClientTls, Refusal};

use crate::network::{ByteStream, Network};

/// Why the last handshake with a replica failed, until one succeeds.
#[derive(Debug, Default)]
pub(crate) struct LastRefusal(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    current: Option<Refusal>,
    /// What the log has been told; a replica that goes on refusing says nothing new.
    told: Option<Refusal>,
}

impl LastRefusal {
    /// What a call over the refused connection is told.
    pub(crate) fn reason(&self) -> Option<Reason> {
        let refusal = self.noted(|noted| noted.current)?;
        Some(match refusal {
            Refusal::ServerUntrusted => Reason::ServerUntrusted,
            Refusal::ServerExpired => Reason::ServerCertificateExpired,
            Refusal::ServerOther => Reason::ServerNameMismatch,
            Refusal::ClientRefused => Reason::ClientCertificateRefused,
            Refusal::Handshake => Reason::TlsFailed,
        })
    }

    /// The server could not even be reached: whatever it said before, that is not what is wrong now.
    fn unreached(&self) {
        self.noted(|noted| noted.current = None);
    }

    fn refused(&self, refusal: Refusal, error: &(dyn std::error::Error + 'static)) {
        let is_new = self.noted(|noted| {
            noted.current = Some(refusal);
            noted.told.replace(refusal) != Some(refusal)
        });
        if is_new {
            tracing::warn!(%refusal, error, "no encrypted connection to a server");
        }
    }

    fn succeeded(&self) {
        self.noted(|noted| *noted = Noted::default());
    }

    fn noted<T>(&self, change: impl FnOnce(&mut Noted) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Connects to `host` and makes the handshake with the server called `origin`, which is held to its name. The channel limits
/// the time of both.
pub(crate) async fn connect(
    network: &dyn Network,
    (host, port): (String, u16),
    origin: &Uri,
    tls: &ClientTls,
    refusal: Arc<LastRefusal>,
) -> io::Result<Attentive<ClientStream<Box<dyn ByteStream>>>> {
    let stream = network.connect(host, port).await.inspect_err(|_| refusal.unreached())?;
    match tls.connect(origin.host().unwrap_or_default(), stream).await {
        Ok(io) => Ok(Attentive { io, refusal, has_heard: false }),
        Err(error) => {
            refusal.refused(error.refusal(), &error);
            Err(io::Error::other(error))
        }
    }
}

pin_project! {
    /// A stream that notes a refusal by the other side.
    pub(crate) struct Attentive<IO> {
        #[pin]
        io: IO,
        refusal: Arc<LastRefusal>,
        has_heard: bool,
    }
}

impl<IO: AsyncRead> AsyncRead for Attentive<IO> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        let read = this.io.poll_read(context, buffer);
        match &read {
            Poll::Ready(Err(error)) if !*this.has_heard => {
                if let Some(refusal) = Refusal::of(error) {
                    this.refusal.refused(refusal, error);
                }
            }
            Poll::Ready(Ok(())) if !*this.has_heard && buffer.filled().len() > before => {
                *this.has_heard = true;
                this.refusal.succeeded();
            }
            _ => {}
        }
        read
    }
}

impl<IO: AsyncWrite> AsyncWrite for Attentive<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
