//! `/healthz` and `/readyz`, for what starts and watches processes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::error::HttpError;
use super::reply;
use crate::backends::Backends;
use crate::gateway::Gateway;

/// The process lives.
pub(super) async fn alive() -> Response {
    reply(StatusCode::OK, &json!({ "status": "alive" }))
}

/// Requests are taken. A server that drains listens no more, so it needs no answer of its own.
pub(super) async fn ready<B: Backends>(State(gateway): State<Gateway<B>>) -> Result<Response, HttpError> {
    let model = gateway.model()?;
    Ok(reply(StatusCode::OK, &json!({ "status": "ready", "model": model.name })))
}
