//! The HTTP face of the gateway: OpenAI's routes over the same flows as the gRPC face, a page, probes and a description.
//!
//! It exists because image clients, editors and scripts already speak this API. A request is read into the very message
//! that gRPC takes and judged by the same code, so limits, defaults and words are one and the same; only names of fields
//! and the shape of errors are translated. What OpenAI's API has and this model has not is refused by name, never
//! silently dropped: a client must not believe that its mask was used.
//!
//! Where keys are configured, every path needs one, unknown paths and `/openapi.json` included, but a closed list: the probes,
//! and the page's own files, which tell nothing that is not in every binary and without which nobody could type a key in.

mod body;
mod chat;
mod config;
mod error;
mod fields;
mod host;
mod images;
mod json;
mod keys;
mod models;
mod openapi;
mod page;
mod probes;
mod stream;

pub use config::{HttpConfig, HttpListen, RemoteImagesConfig};

use std::any::Any;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tower::Layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, CorsLayer};
use unipic_api::{ApiError, Reason};
use unipic_serving::{CallContext, ListenAddress};
use unipic_telemetry::WebTraceLayer;
use unipic_telemetry::web::WebTrace;

use crate::backends::Backends;
use crate::gateway::Gateway;
use error::HttpError;
use host::{Hosts, known_host_only};
use keys::HttpKeyLayer;

/// Routes whose requests are counted and leave a span. Probes and the page's files would be most of all traces and tell nothing.
const TRACED: [&str; 4] =
    ["POST /v1/images/generations", "POST /v1/images/edits", "POST /v1/chat/completions", "GET /v1/models"];

impl<B: Backends> Gateway<B> {
    /// The HTTP API as a router, without the guards and spans of a server around it.
    pub fn router(&self) -> Router {
        let config = &self.shared.config.http;
        let router = Router::new()
            .route("/v1/images/generations", post(images::generate::<B>))
            .route("/v1/images/edits", post(images::edit::<B>))
            .route("/v1/chat/completions", post(chat::complete::<B>))
            .route("/v1/models", get(models::list::<B>))
            .route("/v1/models/{model}", get(models::one::<B>))
            .route("/healthz", get(probes::alive))
            .route("/readyz", get(probes::ready::<B>))
            .route("/openapi.json", get(async || reply(StatusCode::OK, &openapi::document())))
            .merge(page::routes())
            .fallback(no_route)
            .method_not_allowed_fallback(wrong_method)
            .with_state(self.clone())
            .layer(HttpKeyLayer::new(self.keys(), open_paths()))
            .layer(from_fn(in_time))
            .layer(from_fn_with_state(config.cors_origins.clone(), own_site_only))
            .layer(CatchPanicLayer::custom(panicked));
        if config.cors_origins.is_empty() { router } else { router.layer(cors(&config.cors_origins)) }
    }

    /// The router for a listener: what only the listener decides, and a span and a count around every request.
    pub(crate) fn web(&self, address: Option<ListenAddress>) -> WebTrace<Router> {
        let router = match Hosts::of(address, &self.shared.config.http, self.keys().is_required()) {
            Some(hosts) => self.router().layer(from_fn_with_state(hosts, known_host_only)),
            None => self.router(),
        };
        WebTraceLayer::new(route_name).counted(self.shared.metrics.web(&TRACED)).layer(router)
    }
}

/// What is answered without a key.
fn open_paths() -> impl Iterator<Item = String> {
    ["/healthz", "/readyz"].map(str::to_owned).into_iter().chain(page::paths())
}

/// The name of a route that leaves a span.
fn route_name(method: &Method, path: &str) -> Option<&'static str> {
    TRACED.into_iter().find(|name| name.split_once(' ') == Some((method.as_str(), path)))
}

/// Ends handlers that are late, or that a drain waits for no longer. Flows see to both themselves, which is how streams are told.
async fn in_time(request: Request, next: Next) -> Response {
    let CallContext { deadline, cut_off, .. } = CallContext::among(request.extensions());
    let error = tokio::select! {
        answered = tokio::time::timeout_at(deadline, next.run(request)) => match answered {
            Ok(response) => return response,
            Err(_) => ApiError::DeadlineExceeded,
        },
        () = cut_off.cancelled() => ApiError::unavailable(Reason::Draining),
    };
    HttpError::from(error).into_response()
}

/// Refuses requests that a browser sends for a page of another site. Browsers keep the answer of such a request from that
/// page by themselves, but send a form's request all the same, and the work would be done.
async fn own_site_only(State(allowed): State<Vec<String>>, request: Request, next: Next) -> Response {
    if request.method() == Method::POST && is_foreign(request.headers(), &allowed) {
        let what = "requests from pages of other sites; see cors_origins in the table [http]";
        return HttpError::from(ApiError::PermissionDenied(what.to_owned())).into_response();
    }
    next.run(request).await
}

/// True for what a browser says to be of another site than this one and the allowed ones.
fn is_foreign(headers: &HeaderMap, allowed: &[String]) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_allowed = text("origin").is_some_and(|origin| allowed.iter().any(|allowed| allowed == origin));
    matches!(text("sec-fetch-site"), Some("cross-site" | "same-site")) && !is_allowed
}

/// Lets pages of some other sites use the API.
fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        // Clients send headers of their own (OpenAI's, its language and version); none of them changes what is done.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::RETRY_AFTER])
}

/// A handler's panic becomes an error like any other fault; the panic hook has logged the place.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    HttpError::from(ApiError::Fault(Reason::Bug)).into_response()
}

async fn no_route() -> HttpError {
    HttpError::new(StatusCode::NOT_FOUND, "no_route", "there is nothing at this path; see /openapi.json")
}

async fn wrong_method() -> HttpError {
    let message = "this path does not take this method; see /openapi.json";
    HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

/// An answer in JSON.
fn reply(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
