//! One span per RPC, on both sides of a connection.
//!
//! The server's layer takes its parent from the request's headers, the client's writes its span into them. Both spans
//! end with the response's body, and both record the status that the call ended with, which gRPC sends in headers, in
//! trailers, or (when a peer goes away) not at all.

mod verdict;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Code;
use tower::{Layer, Service};
use tracing::Span;
use tracing::field::Empty;

use crate::metrics::{RequestMetrics, RunningRequest};
use crate::propagation;

pub use verdict::Verdict;

/// Adds [`ServerTrace`] to a server. Its requests are counted too: both need to see how a call ends, and one look is
/// enough.
#[derive(Debug, Clone)]
pub struct CountedServerLayer(pub RequestMetrics);

/// Adds [`ClientTrace`] to a client's channel.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientTraceLayer;

/// A span per request, with the caller's span as its parent. Spans are named by the methods that the metrics know, all
/// others `other`: what a client makes up must not become a name in a trace store.
#[derive(Debug, Clone)]
pub struct ServerTrace<S> {
    inner: S,
    metrics: RequestMetrics,
}

/// A span per call, announced to the server.
#[derive(Debug, Clone)]
pub struct ClientTrace<S> {
    inner: S,
}

impl<S> ClientTrace<S> {
    /// What is called.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S> Layer<S> for CountedServerLayer {
    type Service = ServerTrace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerTrace { inner, metrics: self.0.clone() }
    }
}

impl<S> Layer<S> for ClientTraceLayer {
    type Service = ClientTrace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientTrace { inner }
    }
}

impl<S, B, R> Service<Request<B>> for ServerTrace<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = TracedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let names = names(path);
        let span = match names {
            Some(names) => server_span(Some(names).filter(|_| self.metrics.knows(path))),
            None => Span::none(),
        };
        propagation::set_parent(&span, request.headers());
        let counted = names.map(|_| self.metrics.begin(path));
        let future = span.in_scope(|| self.inner.call(request));
        TracedFuture { future, call: Some(Call::new(span, Side::Server, counted)) }
    }
}

impl<S, B, R> Service<Request<B>> for ClientTrace<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = TracedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let span = match names(request.uri().path()) {
            Some((service, method)) => tracing::info_span!(
                "rpc.client",
                otel.name = format!("{service}/{method}"),
                otel.kind = "client",
                otel.status_code = Empty,
                rpc.system = "grpc",
                rpc.service = service,
                rpc.method = method,
                rpc.grpc.status_code = Empty,
            ),
            None => Span::none(),
        };
        propagation::inject(&span, request.headers_mut());
        let future = span.in_scope(|| self.inner.call(request));
        TracedFuture { future, call: Some(Call::new(span, Side::Client, None)) }
    }
}

/// Service and method of a gRPC path; `None` for what is not worth a span: health checks come every few seconds from
/// every orchestrator and would be most of all traces.
fn names(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.rsplit_once('/')?;
    (service != "grpc.health.v1.Health").then_some((service, method))
}

/// The span of a call to a service and method, or to none that is known.
fn server_span(known: Option<(&str, &str)>) -> Span {
    let name = known.map_or_else(|| "other".to_owned(), |(service, method)| format!("{service}/{method}"));
    tracing::info_span!(
        "rpc.server",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = known.map(|(service, _)| service),
        rpc.method = known.map(|(_, method)| method),
        rpc.grpc.status_code = Empty,
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

impl Side {
    /// Whether a code marks a span as failed. On the server, only what the server is to blame for does: OpenTelemetry's
    /// conventions for gRPC.
    fn is_error(self, code: Code) -> bool {
        match self {
            Self::Client => code != Code::Ok,
            Self::Server => matches!(
                code,
                Code::Unknown
                    | Code::DeadlineExceeded
                    | Code::Unimplemented
                    | Code::Internal
                    | Code::Unavailable
                    | Code::DataLoss
            ),
        }
    }
}

/// A call under way. When dropped before a status came it records its verdict, or CANCELLED: somebody went away.
#[derive(Debug)]
struct Call {
    span: Span,
    side: Side,
    is_recorded: bool,
    counted: Option<RunningRequest>,
    verdict: Verdict,
}

impl Call {
    fn new(span: Span, side: Side, counted: Option<RunningRequest>) -> Self {
        Self { span, side, is_recorded: false, counted, verdict: Verdict::default() }
    }

    fn record(&mut self, code: Code) {
        self.record_with(code, None);
    }

    fn record_with(&mut self, code: Code, headers: Option<&HeaderMap>) {
        if std::mem::replace(&mut self.is_recorded, true) {
            return;
        }
        if let Some(counted) = self.counted.take() {
            counted.ended(code, headers);
        }
        self.span.record("rpc.grpc.status_code", i64::from(code as i32));
        if self.side.is_error(code) {
            self.span.record("otel.status_code", "ERROR");
        }
    }

    /// Records the status that headers or trailers carry, where they do.
    fn record_from(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.record_with(Code::from_bytes(status.as_bytes()), Some(headers));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.record(self.verdict.get().unwrap_or(Code::Cancelled));
        // A span ends when it was last left, and a call that is dropped while it waits ends now.
        self.span.in_scope(|| {});
    }
}

pin_project! {
    /// A response to come, inside its call's span.
    #[derive(Debug)]
    pub struct TracedFuture<F> {
        #[pin]
        future: F,
        call: Option<Call>,
    }
}

impl<F, R, E> Future for TracedFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<TracedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.call.as_ref().map(|call| call.span.enter());
        let result = ready!(this.future.poll(context));
        drop(entered);
        let mut call = this.call.take();
        match (&result, &mut call) {
            (Ok(response), Some(call)) => {
                call.verdict = response.extensions().get().cloned().unwrap_or_default();
                call.record_from(response.headers());
            }
            (Err(_), Some(call)) => call.record(Code::Unavailable),
            (_, None) => {}
        }
        Poll::Ready(result.map(|response| response.map(|body| TracedBody { body, call })))
    }
}

pin_project! {
    /// A response's body, which keeps its call's span alive and is polled inside it.
    #[derive(Debug)]
    pub struct TracedBody<B> {
        #[pin]
        body: B,
        call: Option<Call>,
    }
}

impl<B: Default> Default for TracedBody<B> {
    /// An empty body of no call.
    fn default() -> Self {
        Self { body: B::default(), call: None }
    }
}

impl<B: Body> Body for TracedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let entered = this.call.as_ref().map(|call| call.span.enter());
        let frame = ready!(this.body.poll_frame(context));
        drop(entered);
        match (&frame, this.call.as_mut()) {
            (Some(Ok(frame)), Some(call)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    call.record_from(trailers);
                }
            }
            // The connection broke: gRPC's code for a call that ends without a status.
            (Some(Err(_)), Some(call)) => call.record(Code::Unavailable),
            (None, Some(call)) => call.record(Code::Unknown),
            (_, None) => {}
        }
        if !matches!(frame, Some(Ok(_))) {
            // Whoever reads a body to its end may keep it for a while.
            this.call.take();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
