//! What surrounds every call: its deadline, its cancellation, and what it ends with.
//!
//! A handler's work outlives the handler: a generation runs in tasks and device jobs while its response streams. So the
//! deadline holds until the last byte of the body, and the token that stops the work fires when the body is dropped,
//! however that comes about.

mod end;
mod timeout;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;
use tower::{Layer, Service};
use unipic_api::{ApiError, Reason};
use unipic_telemetry::Verdict;

use crate::access::Access;
use crate::priority::Priority;
use crate::remap::{put_right, write_status};
use crate::server::State;
use crate::stream;
use crate::tenant::Tenant;
use end::End;
use timeout::timeout;

/// The caller's deadline and presence. Every request carries one among its extensions.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// When the caller stops waiting, or the server's own limit where that is sooner; by tokio's clock, like every wait.
    pub deadline: Instant,
    /// Fires when the call is over: answered, late, or its caller gone.
    pub cancel: CancellationToken,
    /// Fires when a drain has waited long enough for the call. Over HTTP, where only the handler knows how its caller is told,
    /// it says DRAINING then and ends; calls over gRPC are ended by their server and never see it.
    pub cut_off: CancellationToken,
    /// On whose behalf the call is made, as whatever checked its credentials says.
    pub tenant: Tenant,
    /// How urgent it is, as its caller says.
    pub priority: Priority,
}

impl CallContext {
    /// The context of a request. One that came by no server of ours, as in a handler's test, has an hour and is never
    /// cancelled.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        Self::among(request.extensions())
    }

    /// The context among a request's extensions, as [`CallContext::of`].
    pub fn among(extensions: &http::Extensions) -> Self {
        extensions.get().cloned().unwrap_or_else(|| Self::lasting(Duration::from_secs(3600)))
    }

    /// A context that is over after `limit`.
    pub(crate) fn lasting(limit: Duration) -> Self {
        Self {
            deadline: Instant::now() + limit,
            cancel: CancellationToken::new(),
            cut_off: CancellationToken::new(),
            tenant: Tenant::default(),
            priority: Priority::default(),
        }
    }

    /// Time left, zero when late. What a call to the next service is given.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Why the call is over, for work that finds it so.
    pub fn error(&self) -> ApiError {
        match self.remaining().is_zero() {
            true => ApiError::DeadlineExceeded,
            false => ApiError::Cancelled,
        }
    }
}

/// Methods that tell whether calls are taken, and so must be answered when they are not.
const ABOUT_READINESS: [&str; 3] = [
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/inference.GRPCInferenceService/ModelReady",
];

/// Whether the server takes calls now, among the extensions of each: handlers that are asked whether the server is ready
/// have it from here.
#[derive(Debug, Clone, Copy)]
pub struct TakesCalls(bool);

impl TakesCalls {
    /// What stands among a request's extensions; true for one that came by no server of ours.
    pub fn among(extensions: &http::Extensions) -> bool {
        extensions.get().is_none_or(|Self(takes)| *takes)
    }
}

/// Guards every call of a server. See the module.
#[derive(Debug, Clone)]
pub(crate) struct CallLayer {
    /// The longest that any call may take.
    pub(crate) max_call: Duration,
    /// What the process is doing; only a ready one takes calls.
    pub(crate) state: watch::Receiver<State>,
    /// Counts the calls under way.
    pub(crate) calls: TaskTracker,
    /// Fires when those that still run are given up.
    pub(crate) cut: CancellationToken,
    /// Who may call what.
    pub(crate) access: Access,
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, layer: self.clone() }
    }
}

/// A service behind a [`CallLayer`].
#[derive(Debug, Clone)]
pub(crate) struct CallService<S> {
    inner: S,
    layer: CallLayer,
}

impl<S, B, R> Service<Request<B>> for CallService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<CallBody<R>>;
    type Error = S::Error;
    type Future = CallFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        // First of all: whoever may not call learns nothing, not even whether the process is ready.
        let denied = self.layer.access.admit(&mut parts).err();
        let mut request = Request::from_parts(parts, body);
        let asked = timeout(request.headers());
        let limit = self.layer.max_call.min(asked.as_ref().ok().copied().flatten().unwrap_or(Duration::MAX));
        let tenant = Tenant::among(request.extensions());
        let context = CallContext { tenant, ..CallContext::lasting(limit) };
        let path = request.uri().path();
        let is_ours = !path.starts_with("/grpc.");
        let refusal = self.layer.state.borrow().refusal();
        let takes_calls = TakesCalls(refusal.is_none());
        let waits = is_ours && !ABOUT_READINESS.contains(&path);
        let refused = denied.or(refusal.filter(|_| waits)).or(asked.err());
        // Health watches are open-ended; a drain must not wait for them.
        let guard = Guard::new(&context, is_ours.then(|| self.layer.calls.token()));
        let (end, verdict) = (End::new(context.deadline, self.layer.cut.clone()), Verdict::default());
        stream::ends_by(context.deadline, verdict.clone());
        request.extensions_mut().insert(context);
        request.extensions_mut().insert(takes_calls);
        let future = refused.is_none().then(|| self.inner.call(request));
        CallFuture { future, refused, verdict, end: Some(end), guard: Some(guard) }
    }
}

/// What is over when a call is.
#[derive(Debug)]
pub(crate) struct Guard {
    _cancel: DropGuard,
    _call: Option<TaskTrackerToken>,
}

impl Guard {
    /// Cancels the call when dropped; `counted` tells a drain that it was under way.
    pub(crate) fn new(call: &CallContext, counted: Option<TaskTrackerToken>) -> Self {
        Self { _cancel: call.cancel.clone().drop_guard(), _call: counted }
    }
}

pin_project! {
    /// A response to come, until the call must end.
    pub(crate) struct CallFuture<F> {
        #[pin]
        future: Option<F>,
        refused: Option<ApiError>,
        verdict: Verdict,
        end: Option<End>,
        guard: Option<Guard>,
    }
}

impl<F, R, E> Future for CallFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<CallBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let error = match (this.refused.take(), this.future.as_mut().as_pin_mut()) {
            (Some(error), _) => error,
            (None, Some(future)) => match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
                Ok(Poll::Ready(result)) => {
                    let (end, guard, verdict) = (this.end.take(), this.guard.take(), this.verdict.clone());
                    return Poll::Ready(result.map(|response| guarded(response, end, guard, verdict)));
                }
                Ok(Poll::Pending) => match this.end.as_mut() {
                    Some(end) => ready!(end.poll(context)),
                    None => return Poll::Pending,
                },
                Err(_) => panicked(),
            },
            (None, None) => ApiError::Fault(Reason::Bug),
        };
        // The work must be told before the caller is.
        this.guard.take();
        this.future.set(None);
        let (parts, ()) = Status::from(error).into_http::<()>().into_parts();
        Poll::Ready(Ok(Response::from_parts(parts, CallBody { body: None, end: None, guard: None })))
    }
}

/// The response with the call's guard on its body.
fn guarded<R>(
    response: Response<R>,
    end: Option<End>,
    guard: Option<Guard>,
    verdict: Verdict,
) -> Response<CallBody<R>> {
    let (mut parts, body) = response.into_parts();
    put_right(&mut parts.headers);
    parts.extensions.insert(verdict);
    Response::from_parts(parts, CallBody { body: Some(body), end, guard })
}

/// A handler's panic becomes a status like any other fault; the panic hook has logged the place.
fn panicked() -> ApiError {
    tracing::error!("a handler panicked");
    ApiError::Fault(Reason::Bug)
}

pin_project! {
    /// A response's body, until the call must end. Dropping it cancels the call's work.
    pub(crate) struct CallBody<B> {
        #[pin]
        body: Option<B>,
        end: Option<End>,
        guard: Option<Guard>,
    }
}

impl<B: Body> Body for CallBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        // First the clock: a body that always has more would never come to it otherwise.
        let ended = this.end.as_mut().map_or(Poll::Pending, |end| end.poll(context));
        let error = match ended {
            Poll::Ready(error) => error,
            Poll::Pending => match catch_unwind(AssertUnwindSafe(|| body.poll_frame(context))) {
                Ok(frame) => return Poll::Ready(ready!(frame).map(|frame| frame.map(trailers_put_right))),
                Err(_) => panicked(),
            },
        };
        this.guard.take();
        this.body.set(None);
        let mut trailers = HeaderMap::new();
        write_status(&Status::from(error), &mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

fn trailers_put_right<D>(frame: Frame<D>) -> Frame<D> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            put_right(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
