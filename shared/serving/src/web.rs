//! HTTP/1.1, for browsers and clients without gRPC, guarded and encrypted as the gRPC services are.
//!
//! HTTP/1.1 and nothing newer, because it is what every client and proxy speaks, with TLS and without. It has no ping, so a peer is
//! judged by what it does: it must send a request's head promptly, its body at a pace, and take what it is sent. A client
//! that closes its connection ends its call: the handler or the response's body is dropped, and the call's token fires.

mod stall;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};
use unipic_tls::PeerIdentity;

use crate::accepting::accept_until;
use crate::call::{CallContext, Guard};
use crate::drain::{Drained, finish};
use crate::listen::{Accepted, Listener};
use crate::pace::PacedBody;
use crate::peers::Peers;
use crate::secure::{Door, Entered, WEB};
use crate::server::ServerConfig;

use stall::Stallable;

/// How long a peer may take to send a request's head, and how long an idle connection is kept for a further one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(8);

/// Bytes of a request's head; a longer one is refused with status 431.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Bytes that a connection buffers in each direction.
const BUFFER_BYTES: usize = 64 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves HTTP/1.1 until `shutdown` resolves; then takes no new connections, waits for the calls under way, at most for
/// `config.drain_seconds`, tells those that are left by [`CallContext::cut_off`], and closes every connection within a second.
///
/// Every request carries a [`CallContext`] among its extensions, which ends after `config.max_call_seconds`; the service
/// keeps to it, since only the service knows how its clients are told. Dropping the future closes everything at once.
///
/// Connections are encrypted as `config.tls` says. HTTP has no gRPC methods, so of its rules only `allowed` holds, for a whole
/// connection: a peer that it does not name is hung up on.
pub async fn serve_web<S, R>(
    listener: Listener,
    service: S,
    config: &ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Drained
where
    S: Service<Request<PacedBody<Incoming>>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let (calls, cut) = (TaskTracker::new(), CancellationToken::new());
    let drain = CancellationToken::new();
    let max_call = Duration::from_secs_f64(config.max_call_seconds);
    let gate = Gate { door: Door::open(&listener, config, &WEB), peers: Peers::new(&config.tls) };
    let connect = |accepted| {
        let guarded = Guarded { service: service.clone(), max_call, calls: calls.clone(), cut: cut.clone() };
        let (gate, drain) = (gate.clone(), drain.clone());
        async move {
            match accepted {
                Accepted::Tcp(stream, _) => serve_peer(gate, stream, guarded, drain).await,
                Accepted::Unix(stream) => serve_peer(gate, stream, guarded, drain).await,
                Accepted::Other(stream, _) => serve_peer(gate, stream, guarded, drain).await,
            }
        }
    };
    let connections = tokio::select! {
        connections = accept_until(&listener, &config.connections, shutdown, connect) => connections,
        never = gate.door.follow_files() => match never {},
    };
    drop(listener);
    drain.cancel();
    finish(connections, calls, Duration::from_secs_f64(config.drain_seconds), cut).await
}

/// What a connection passes before its first request.
#[derive(Clone)]
struct Gate {
    door: Door,
    peers: Option<Arc<Peers>>,
}

impl Gate {
    fn lets_in(&self, peer: Option<&PeerIdentity>) -> bool {
        let is_allowed = self.peers.as_ref().is_none_or(|peers| peers.let_in(peer));
        if !is_allowed {
            tracing::info!(?peer, "a peer may not use the HTTP API");
        }
        is_allowed
    }
}

/// Serves what was accepted, after its handshake where one is wanted.
async fn serve_peer<IO, S, R>(gate: Gate, io: IO, guarded: Guarded<S>, drain: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<PacedBody<Incoming>>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    match gate.door.enter(io, &drain).await {
        Some(Entered::Plain(io)) if gate.lets_in(None) => serve_connection(io, guarded, drain).await,
        Some(Entered::Encrypted(secured)) if gate.lets_in(secured.peer.as_ref()) => {
            serve_connection(secured.stream, guarded, drain).await;
        }
        _ => {}
    }
}

/// Serves one connection until the peer closes it, or until `drain` fires and the call on it has ended.
async fn serve_connection<IO, S, R>(io: IO, guarded: Guarded<S>, drain: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<PacedBody<Incoming>>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES);
    let service = service_fn(move |request| guarded.call(request));
    let io = TokioIo::new(Stallable::new(io));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// A service with the guards of a call around it.
struct Guarded<S> {
    service: S,
    max_call: Duration,
    /// Counts the calls under way.
    calls: TaskTracker,
    /// Fires when those that still run are given up.
    cut: CancellationToken,
}

impl<S> Guarded<S> {
    /// Answers one request. The call is over when this future is dropped, or the response's body.
    fn call<R>(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<GuardedBody<R>>, Infallible>> + use<S, R>
    where
        S: Service<Request<PacedBody<Incoming>>, Response = Response<R>, Error = Infallible> + Clone,
    {
        let context = CallContext { cut_off: self.cut.clone(), ..CallContext::lasting(self.max_call) };
        let guard = Guard::new(&context, Some(self.calls.token()));
        let mut request = request.map(PacedBody::new);
        request.extensions_mut().insert(context);
        let answer = self.service.clone().oneshot(request);
        async move {
            let response = answer.await?;
            Ok(response.map(|body| GuardedBody { body, _guard: guard }))
        }
    }
}

pin_project! {
    /// A response's body. Dropping it ends the call.
    struct GuardedBody<B> {
        #[pin]
        body: B,
        _guard: Guard,
    }
}

impl<B: Body> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
