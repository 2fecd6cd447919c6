//! What a process tells its operators: `GET /metrics`, `/healthz` and `/readyz` over plain HTTP, on a port of its own.
//!
//! Off unless `[ops] listen` is set. A port of its own, because these answers are for the inside of a cluster and must not
//! wait behind users' calls, and because a scraper speaks HTTP/1. One request a connection and ten seconds for it: a
//! scraper comes every few seconds and needs no more, and whoever connects and says nothing is soon gone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use unipic_telemetry::{Metrics, metrics};

use crate::config::{Problems, Validate};
use crate::listen::{Accepted, ListenAddress, Listener};
use crate::server::State;

/// Connections at once; further ones are closed as they come.
const MAX_CONNECTIONS: usize = 64;

/// How long a request's headers may take to come.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may last, its one answer included.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// What an operator chooses about the listener for operators.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpsConfig {
    /// Where to listen, such as `127.0.0.1:9090` or `unix:/path`; nowhere when left out. There is no authentication: choose
    /// an address that only operators reach.
    pub listen: Option<ListenAddress>,
}

impl Validate for OpsConfig {
    fn validate(&self, _: &mut Problems) {
        // An address that parses is right as far as can be told without binding it.
    }
}

/// What a process counts, and the bound listener that tells it. The default counts nothing and listens nowhere.
#[derive(Debug, Default)]
pub struct Ops {
    pub(crate) metrics: Metrics,
    pub(crate) listener: Option<Listener>,
}

impl Ops {
    /// Binds the address, where one is configured. It is answered once a server runs with it ([`crate::Services::with_ops`]).
    ///
    /// Errors: the address is taken or not ours to bind; the message names it.
    pub async fn bind(config: &OpsConfig, metrics: Metrics) -> std::io::Result<Self> {
        let listener = match &config.listen {
            Some(address) => {
                let listener = address.bind().await?;
                tracing::info!(listen = %listener.address()?, "metrics and probes");
                Some(listener)
            }
            None => None,
        };
        Ok(Self { metrics, listener })
    }
}

/// What the answers are made of.
#[derive(Debug)]
struct Source {
    metrics: Metrics,
    state: watch::Receiver<State>,
}

/// Answers for ever; dropping the future closes everything.
pub(crate) async fn answer(listener: Listener, metrics: Metrics, state: watch::Receiver<State>) {
    let source = Arc::new(Source { metrics, state });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(_) if connections.len() >= MAX_CONNECTIONS => {
                tracing::warn!("{MAX_CONNECTIONS} connections for operators: a further one was closed");
            }
            Ok(Accepted::Tcp(stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&source)));
            }
            Ok(Accepted::Unix(stream)) => {
                connections.spawn(connection(stream, Arc::clone(&source)));
            }
            Ok(Accepted::Other(stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&source)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an operator's connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection<IO: AsyncRead + AsyncWrite + Unpin>(io: IO, source: Arc<Source>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = source.respond(request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(false).max_buf_size(16 << 10);
    let served = builder.serve_connection(TokioIo::new(io), service);
    match tokio::time::timeout(CONNECTION_LIMIT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an operator's connection ended with an error"),
        Err(_) => tracing::debug!("an operator's connection took too long"),
    }
}

impl Source {
    fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (status, kind, body) = match path {
            "/metrics" => (StatusCode::OK, metrics::CONTENT_TYPE, self.metrics.render()),
            // The process answers, so it lives; a stuck device shows in the metrics.
            "/healthz" => (StatusCode::OK, PLAIN, "alive\n".to_owned()),
            "/readyz" => self.readiness(),
            _ => (StatusCode::NOT_FOUND, PLAIN, "there are /metrics, /healthz and /readyz\n".to_owned()),
        };
        if !matches!(*method, Method::GET | Method::HEAD) && status != StatusCode::NOT_FOUND {
            let mut response = Response::new(Full::from("only GET is answered here\n"));
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    fn readiness(&self) -> (StatusCode, &'static str, String) {
        match *self.state.borrow() {
            State::Ready => (StatusCode::OK, PLAIN, "ready\n".to_owned()),
            State::Loading => (StatusCode::SERVICE_UNAVAILABLE, PLAIN, "loading\n".to_owned()),
            State::Draining => (StatusCode::SERVICE_UNAVAILABLE, PLAIN, "draining\n".to_owned()),
        }
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";
