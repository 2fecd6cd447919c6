//! One accepted connection, from its preface to its end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Service, ServiceExt};
use unipic_tls::PeerIdentity;

use crate::stream::Streams;
use crate::upload::Upload;

/// How long a peer may take to send the first bytes of HTTP/2. Without a limit, one that sends nothing stays for ever.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);

/// Length of HTTP/2's preface and the header of the frame that must follow it, in bytes.
const PREFACE_BYTES: usize = 24 + 9;

/// Pings go out this often, and a peer that leaves one unanswered for as long again is gone. A half-sent frame blocks
/// the answer, so this also ends peers that stop in the middle of one.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Calls at once on one connection; HTTP/2 has no limit of its own.
const MAX_CONCURRENT_STREAMS: u32 = 100;

/// Bytes of all header fields of a request.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Flow-control windows, in bytes: one tensor of hidden states may be in flight whole.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    /// Where it called from, over TCP.
    pub(crate) address: Option<SocketAddr>,
    /// Whose certificate it showed.
    pub(crate) identity: Option<PeerIdentity>,
}

/// How long a connection is kept.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// This long without a call. A peer that only answers pings would else stay for ever, and there is room for so many.
    pub(crate) idle: Duration,
    /// Until this fires and the calls on it have ended.
    pub(crate) drain: CancellationToken,
}

impl Life {
    async fn over(&self, streams: &Streams) {
        tokio::select! {
            biased;
            () = self.drain.cancelled() => {}
            () = streams.idle(self.idle) => tracing::debug!("a connection without calls is closed"),
        }
    }
}

/// Serves one connection until the peer closes it, or its `life` is over.
pub(crate) async fn serve_connection<IO, S, R>(io: IO, peer: Peer, service: S, life: Life)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<http::Request<Body>, Response = http::Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let service = service.map_request(move |request: http::Request<Incoming>| {
        let (head, body) = request.into_parts();
        let body = Body::new(Upload::new(body, head.uri.path()));
        let mut request = http::Request::from_parts(head, body);
        if let Some(address) = peer.address {
            // What makes `tonic::Request::remote_addr` work.
            let info = tonic::transport::server::TcpConnectInfo { local_addr: None, remote_addr: Some(address) };
            request.extensions_mut().insert(info);
        }
        if let Some(identity) = &peer.identity {
            request.extensions_mut().insert(identity.clone());
        }
        request
    });
    let streams = Streams::default();
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let io = TokioIo::new(Prompt::new(io));
    let mut connection = std::pin::pin!(builder.serve_connection(io, TowerToHyperService::new(service)));
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = life.over(&streams) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

pin_project! {
    /// A connection whose peer must send its preface promptly.
    struct Prompt<IO> {
        #[pin]
        io: IO,
        missing: usize,
        timeout: Option<Pin<Box<Sleep>>>,
    }
}

impl<IO> Prompt<IO> {
    fn new(io: IO) -> Self {
        let timeout = Some(Box::pin(tokio::time::sleep(PREFACE_TIMEOUT)));
        Self { io, missing: PREFACE_BYTES, timeout }
    }
}

impl<IO: AsyncRead> AsyncRead for Prompt<IO> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        let read = this.io.poll_read(context, buffer);
        *this.missing = this.missing.saturating_sub(buffer.filled().len() - before);
        if *this.missing == 0 {
            *this.timeout = None;
        }
        if read.is_pending()
            && let Some(timeout) = this.timeout
            && timeout.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<IO: AsyncWrite> AsyncWrite for Prompt<IO> {
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
