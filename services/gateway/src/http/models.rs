//! `/v1/models`: what is served.

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use unipic_api::pb;

use super::error::HttpError;
use super::images::MAX_PARTIAL_IMAGES;
use super::{now, reply};
use crate::backends::Backends;
use crate::gateway::Gateway;
use crate::model::{Model, Named};

/// The list of models: this server has one.
pub(super) async fn list<B: Backends>(State(gateway): State<Gateway<B>>) -> Result<Response, HttpError> {
    let model = gateway.model()?;
    Ok(reply(StatusCode::OK, &json!({ "object": "list", "data": [entry(&model, gateway.grpc_port())] })))
}

/// One model.
pub(super) async fn one<B: Backends>(
    State(gateway): State<Gateway<B>>,
    Path(name): Path<String>,
) -> Result<Response, HttpError> {
    let model = gateway.model()?;
    check_name(Some(name), &model)?;
    Ok(reply(StatusCode::OK, &entry(&model, gateway.grpc_port())))
}

/// Refuses a request for another model than the one here.
pub(super) fn check_name(name: Option<String>, model: &Model) -> Result<(), HttpError> {
    if name.is_none_or(|name| name == model.name) {
        return Ok(());
    }
    let message = format!("model: there is no such model here; this server has {}", model.name);
    Err(HttpError::new(StatusCode::NOT_FOUND, "model_not_found", message).at("model"))
}

/// When this was first asked, in seconds since 1970.
fn started() -> u64 {
    static STARTED: LazyLock<u64> = LazyLock::new(now);
    *STARTED
}

fn entry(model: &Model, grpc_port: Option<u16>) -> Value {
    let told = model.to_response();
    json!({
        "id": told.name,
        "object": "model",
        // Models here have no date; clients want one.
        "created": started(),
        "owned_by": "unipic",
        "unipic": {
            "stride": told.stride,
            "defaults": defaults(model),
            "limits": limits(&model.limits),
            "encoder_paths": model.encoder_paths.iter().map(|path| path.name()).collect::<Vec<_>>(),
            "notices": told.notices,
            "weights_sha256": told.weights_sha256,
            "server_version": told.server_version,
            // At the host that this was asked of; null where it is not known.
            "grpc_port": grpc_port,
        },
    })
}

fn defaults(model: &Model) -> Value {
    let options = &model.defaults;
    json!({
        "n": options.n,
        "width": options.width,
        "height": options.height,
        "iterations": options.iterations,
        "head_steps": options.head_steps,
        "guidance_scale": options.guidance_scale,
        "guidance_schedule": schedule_name(options.guidance_schedule),
        "temperature": options.temperature,
        "output_format": "png",
        "max_tokens": model.default_answer_tokens,
    })
}

fn limits(limits: &pb::Limits) -> Value {
    json!({
        "max_prompt_bytes": limits.max_prompt_bytes,
        "max_image_bytes": limits.max_image_bytes,
        "max_image_pixels": limits.max_image_pixels,
        "max_output_pixels": limits.max_output_pixels,
        "max_n": limits.max_n,
        "max_iterations": limits.max_iterations,
        "max_head_steps": limits.max_head_steps,
        "max_guidance_scale": limits.max_guidance_scale,
        "max_temperature": limits.max_temperature,
        "max_answer_tokens": limits.max_answer_tokens,
        "max_images": limits.max_images,
        "max_turns": limits.max_turns,
        "max_partial_images": MAX_PARTIAL_IMAGES,
    })
}

/// The word of this API for a schedule.
pub(super) fn schedule_name(schedule: i32) -> &'static str {
    match pb::GuidanceSchedule::try_from(schedule) {
        Ok(pb::GuidanceSchedule::Linear) => "linear",
        _ => "constant",
    }
}
