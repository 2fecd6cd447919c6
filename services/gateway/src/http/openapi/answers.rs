//! What is answered, as schemas: what stands here is there always, and more may come.

use serde_json::{Value, json};

/// A whole answer of images.
pub(super) fn images() -> Value {
    let datum = json!({
        "type": "object", "required": ["b64_json"],
        "properties": {
            "b64_json": { "type": "string", "contentEncoding": "base64" },
            "crop": { "type": "object", "description": "What part of an edit's source was used, in its pixels." },
        },
    });
    let made = json!({
        "type": "object",
        "required": ["iterations", "head_steps", "guidance_scale", "temperature", "weights_sha256", "server_version"],
        "description": "With prompt and seed, what makes the same images again.",
        "properties": {
            "iterations": { "type": "integer" },
            "head_steps": { "type": "integer" },
            "guidance_scale": { "type": "number" },
            "guidance_schedule": { "type": "string" },
            "temperature": { "type": "number" },
            "weights_sha256": { "type": "string" },
            "server_version": { "type": "string" },
            "total_ms": { "type": ["number", "null"] },
        },
    });
    json!({
        "type": "object", "required": ["created", "data", "model", "seed", "size", "output_format", "unipic"],
        "properties": {
            "created": { "type": "integer" },
            "data": { "type": "array", "items": datum },
            "model": { "type": "string" },
            "seed": { "type": "integer", "minimum": 0 },
            "size": { "type": "string" },
            "output_format": { "type": "string" },
            "background": { "type": "string" },
            "unipic": made,
        },
    })
}

/// A whole answer to a question.
pub(super) fn completion() -> Value {
    let choice = json!({
        "type": "object", "required": ["index", "message", "finish_reason"],
        "properties": {
            "index": { "type": "integer" },
            "message": { "type": "object", "properties": { "content": { "type": "string" } }, "required": ["content"] },
            "finish_reason": { "enum": ["stop", "length"] },
        },
    });
    json!({
        "type": "object", "required": ["id", "object", "created", "model", "choices", "usage"],
        "properties": {
            "id": { "type": "string" },
            "object": { "const": "chat.completion" },
            "created": { "type": "integer" },
            "model": { "type": "string" },
            "choices": { "type": "array", "items": choice },
            "usage": { "type": "object", "required": ["prompt_tokens", "completion_tokens", "total_tokens"] },
        },
    })
}

/// What is served.
pub(super) fn models() -> Value {
    let model = json!({
        "type": "object", "required": ["id", "object", "created", "owned_by", "unipic"],
        "properties": { "unipic": { "type": "object", "required": ["defaults", "limits", "weights_sha256"] } },
    });
    json!({
        "type": "object", "required": ["object", "data"],
        "properties": { "object": { "const": "list" }, "data": { "type": "array", "items": model } },
    })
}

/// What a request that failed is answered.
pub(super) fn error() -> Value {
    let error = json!({
        "type": "object",
        "properties": {
            "message": { "type": "string" },
            "type": { "type": "string" },
            "param": { "type": ["string", "null"], "description": "The field that is wrong." },
            "code": { "type": "string" },
            "status": { "type": "integer", "description": "The HTTP status; also in a stream that has begun." },
        },
    });
    json!({ "type": "object", "required": ["error"], "properties": { "error": error } })
}
