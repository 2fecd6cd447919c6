//! One span per request of a plain HTTP service, as [`crate::rpc`] makes them for gRPC.
//!
//! The span ends with the response's body, because a picture's events stream for as long as it is drawn. It is named by
//! the route and never by the path as it came: what a client makes up must not become a name in a trace store.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::Span;
use tracing::field::Empty;

use crate::propagation;

/// The route of a request as `POST /v1/images/edits`; none for what is not worth a span.
pub type RouteName = fn(&Method, &str) -> Option<&'static str>;

/// Adds [`WebTrace`] to a service.
#[derive(Debug, Clone, Copy)]
pub struct WebTraceLayer {
    route: RouteName,
}

impl WebTraceLayer {
    /// Spans for the requests that `route` names by their method and path.
    pub fn new(route: RouteName) -> Self {
        Self { route }
    }
}

/// A span per request, with the span that its `traceparent` header names as its parent.
#[derive(Debug, Clone)]
pub struct WebTrace<S> {
    inner: S,
    route: RouteName,
}

impl<S> Layer<S> for WebTraceLayer {
    type Service = WebTrace<S>;

    fn layer(&self, inner: S) -> WebTrace<S> {
        WebTrace { inner, route: self.route }
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
        let span = match (self.route)(request.method(), request.uri().path()) {
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
        WebTracedFuture { future, call: Some(Call { span, is_over: false }) }
    }
}

/// A call under way. Recorded as cancelled when dropped before its end: somebody went away.
#[derive(Debug)]
struct Call {
    span: Span,
    is_over: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_over {
            self.span.record("cancelled", true);
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
            // Nobody asks an empty body for its end.
            call.is_over = response.body().is_end_stream();
            call.span.record("http.response.status_code", response.status().as_u16());
            // Only what the server is to blame for marks the span: OpenTelemetry's conventions for HTTP.
            if response.status().is_server_error() {
                call.span.record("otel.status_code", "ERROR");
            }
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
