//! One span per request of a plain HTTP service, as [`crate::rpc`] makes them for gRPC, and its count.
//!
//! The span ends with the response's body, because a picture's events stream for as long as it is drawn. It is named by
//! the route and never by the path as it came: what a client makes up must not become a name in a trace store.

mod outcome;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Code;
use tower::{Layer, Service};
use tracing::Span;
use tracing::field::Empty;

use crate::metrics::{RequestMetrics, RunningRequest};
use crate::propagation;

pub use outcome::{Ending, Outcome};

/// The route of a request as `POST /v1/images/edits`; none for what is not worth a span.
pub type RouteName = fn(&Method, &str) -> Option<&'static str>;

/// Adds [`WebTrace`] to a service.
#[derive(Debug, Clone)]
pub struct WebTraceLayer {
    route: RouteName,
    metrics: Option<RequestMetrics>,
}

impl WebTraceLayer {
    /// Spans for the requests that `route` names by their method and path.
    pub fn new(route: RouteName) -> Self {
        Self { route, metrics: None }
    }

    /// Counts the same requests into `metrics`.
    #[must_use]
    pub fn counted(self, metrics: RequestMetrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }
}

/// A span per request, with the span that its `traceparent` header names as its parent.
#[derive(Debug, Clone)]
pub struct WebTrace<S> {
    inner: S,
    layer: WebTraceLayer,
}

impl<S> Layer<S> for WebTraceLayer {
    type Service = WebTrace<S>;

    fn layer(&self, inner: S) -> WebTrace<S> {
        WebTrace { inner, layer: self.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for WebTrace<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<WebTracedBody<R>>;
    type Error = S::Error;
    type Future = WebTracedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let route = (self.layer.route)(request.method(), request.uri().path());
        let counted = route.zip(self.layer.metrics.as_ref()).map(|(route, metrics)| metrics.begin(route));
        let span = match route {
            Some(route) => tracing::info_span!(
                "http.server",
                otel.name = route,
                otel.kind = "server",
                otel.status_code = Empty,
                http.request.method = request.method().as_str(),
                http.route = route.split_once(' ').map_or(route, |(_, path)| path),
                http.response.status_code = Empty,
                cancelled = Empty,
            ),
            None => Span::none(),
        };
        propagation::set_parent(&span, request.headers());
        let future = span.in_scope(|| self.inner.call(request));
        WebTracedFuture { future, call: Some(Call { span, is_over: false, counted, ending: None }) }
    }
}

/// A call under way. Recorded as cancelled when dropped before its end: somebody went away.
#[derive(Debug)]
struct Call {
    span: Span,
    is_over: bool,
    counted: Option<RunningRequest>,
    /// How it ends if nothing comes between: what its status says, and what its handler may say yet.
    ending: Option<(StatusCode, Outcome)>,
}

impl Call {
    /// Takes note of a response's head.
    fn answered<R: Body>(&mut self, response: &Response<R>) {
        let status = response.status();
        // Nobody asks an empty body for its end.
        self.is_over = response.body().is_end_stream();
        self.ending = Some((status, response.extensions().get().cloned().unwrap_or_default()));
        self.span.record("http.response.status_code", status.as_u16());
        // Only what the server is to blame for marks the span: OpenTelemetry's conventions for HTTP.
        if status.is_server_error() {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_over {
            self.span.record("cancelled", true);
        }
        if let Some(counted) = self.counted.take() {
            let known = self.ending.take().filter(|_| self.is_over);
            let ended = known.map(|(status, outcome)| outcome.get().unwrap_or_else(|| Ending::of_status(status)));
            let Ending { code, refusal } = ended.unwrap_or(Ending { code: Code::Cancelled, refusal: None });
            counted.ended_as(code, refusal);
        }
        // A span ends when it was last left, and a call that is dropped while it waits ends now.
        self.span.in_scope(|| {});
    }
}

pin_project! {
    /// A response to come, inside its call's span.
    #[derive(Debug)]
    pub struct WebTracedFuture<F> {
        #[pin]
        future: F,
        call: Option<Call>,
    }
}

impl<F, R, E> Future for WebTracedFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<WebTracedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.call.as_ref().map(|call| call.span.enter());
        let result = ready!(this.future.poll(context));
        drop(entered);
        let mut call = this.call.take();
        if let (Ok(response), Some(call)) = (&result, &mut call) {
            call.answered(response);
        }
        Poll::Ready(result.map(|response| response.map(|body| WebTracedBody { body, call })))
    }
}

pin_project! {
    /// A response's body, which keeps its call's span alive and is polled inside it.
    #[derive(Debug)]
    pub struct WebTracedBody<B> {
        #[pin]
        body: B,
        call: Option<Call>,
    }
}

impl<B: Body> Body for WebTracedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let entered = this.call.as_ref().map(|call| call.span.enter());
        let frame = ready!(this.body.as_mut().poll_frame(context));
        drop(entered);
        // Whoever sends a body with a known length does not ask for its end.
        let is_over = frame.is_none() || this.body.is_end_stream();
        if let Some(call) = this.call.as_mut()
            && is_over
        {
            call.is_over = true;
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
