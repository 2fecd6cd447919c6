//! What is counted of every request that a server answers, over gRPC or plain HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, StringValue};
use tonic::Code;

use super::{Level, Metrics, Raised};

/// Tells why a status in headers or trailers refuses a request; none for one that failed in another way.
type RefusalOf = fn(&HeaderMap) -> Option<&'static str>;

/// Counts a server's requests: how many, how long, how many now, and why they were refused.
#[derive(Clone, Debug)]
pub struct RequestMetrics {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    running: Level,
    refused: Counter<u64>,
    /// Label by path. A path that is not here is `other`: whoever calls chooses it, and labels must stay few.
    methods: Arc<BTreeMap<String, Arc<str>>>,
    refusal_of: RefusalOf,
}

impl RequestMetrics {
    /// Counts requests to `methods`, pairs of a path such as `/unipic.v1.UniPic/Generate` and its label.
    pub fn new(metrics: &Metrics, methods: impl IntoIterator<Item = (String, String)>, refusal_of: RefusalOf) -> Self {
        let counted = Self {
            requests: metrics.counter("unipic.requests", "Requests that ended, by method or route and gRPC code."),
            duration: metrics.seconds("unipic.request.duration", "From a request's headers to its status."),
            running: metrics.level("unipic.requests_running", "Requests under way, those that wait included."),
            refused: metrics.counter("unipic.requests_refused", "Requests refused without work, by reason."),
            methods: Arc::new(methods.into_iter().map(|(path, label)| (path, label.into())).collect()),
            refusal_of,
        };
        for label in counted.methods.values() {
            counted.running.add(0, &[method(label)]);
        }
        counted
    }

    /// Counts requests to the routes of a plain HTTP service, each named as it is labelled: `POST /v1/images/edits`. Their
    /// handlers say themselves why they refuse.
    pub fn of_routes(metrics: &Metrics, routes: &[&'static str]) -> Self {
        let pair = |route: &&'static str| ((*route).to_owned(), (*route).to_owned());
        Self::new(metrics, routes.iter().map(pair), |_| None)
    }

    /// True for a path that has a label of its own.
    pub(crate) fn knows(&self, path: &str) -> bool {
        self.methods.contains_key(path)
    }

    pub(crate) fn begin(&self, path: &str) -> RunningRequest {
        let method = self.methods.get(path).map_or_else(|| KeyValue::new("method", "other"), method);
        let running = self.running.raise(std::slice::from_ref(&method));
        RunningRequest { metrics: self.clone(), method, started: Instant::now(), _running: running }
    }
}

fn method(label: &Arc<str>) -> KeyValue {
    KeyValue::new("method", StringValue::from(Arc::clone(label)))
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct RunningRequest {
    metrics: RequestMetrics,
    method: KeyValue,
    started: Instant,
    _running: Raised,
}

impl RunningRequest {
    /// Counts the end. `headers` are what carried the status, where one came.
    pub(crate) fn ended(self, code: Code, headers: Option<&HeaderMap>) {
        let refusal = headers.filter(|_| code != Code::Ok).and_then(self.metrics.refusal_of);
        self.ended_as(code, refusal);
    }

    /// Counts the end, and why it was refused, if it was.
    pub(crate) fn ended_as(self, code: Code, refusal: Option<&'static str>) {
        let labels = [self.method, KeyValue::new("code", code_name(code))];
        self.metrics.requests.add(1, &labels);
        self.metrics.duration.record(self.started.elapsed().as_secs_f64(), &labels);
        if let Some(reason) = refusal {
            self.metrics.refused.add(1, &[KeyValue::new("reason", reason)]);
        }
    }
}

/// gRPC's own name of a code, such as `DEADLINE_EXCEEDED`.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
