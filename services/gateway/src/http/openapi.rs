//! `/openapi.json`: the API's description, made from the tables that requests are read by.

mod answers;

use serde_json::{Map, Value, json};

use super::chat;
use super::fields::{Field, Kind, Table};
use super::images::{EDIT_FIELDS, GENERATION_FIELDS, IMAGE_FIELDS};

/// The whole description.
pub(super) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "unipic",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Images from prompts, edits, and questions about images, as clients of OpenAI's API speak it.",
        },
        "paths": {
            "/v1/images/generations": { "post": described(operation(
                "Draws images from a prompt.", "application/json", &[IMAGE_FIELDS, GENERATION_FIELDS], &["prompt"], IMAGES,
            ), "Images") },
            "/v1/images/edits": { "post": described(operation(
                "Changes an image as a prompt says.", "multipart/form-data", &[IMAGE_FIELDS, EDIT_FIELDS],
                &["prompt", "image"], IMAGES,
            ), "Images") },
            "/v1/chat/completions": { "post": described(operation(
                "Answers questions about images.", "application/json", &[chat::FIELDS], &["messages"], CHAT,
            ), "ChatCompletion") },
            "/v1/models": { "get": described(plain("What is served, with its defaults and limits.", &[]), "Models") },
            "/v1/models/{model}": { "get": with_name(plain("The same for one model.", &["404"])) },
            "/healthz": { "get": plain("The process lives.", &[]) },
            "/readyz": { "get": plain("Requests are taken; 503 until they are.", &[]) },
            "/openapi.json": { "get": plain("This description.", &[]) },
        },
        "components": {
            "schemas": {
                "Error": answers::error(),
                "Images": answers::images(),
                "ChatCompletion": answers::completion(),
                "Models": answers::models(),
            },
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
        },
        // With a key where the server asks for one, without where it does not.
        "security": [{ "key": [] }, {}],
    })
}

/// What the image routes answer.
const IMAGES: &str = "The images in base64 with their seed, or a stream of partial_image and completed events, of queued, progress and resumed ones too where progress is true.";
/// What the chat route answers.
const CHAT: &str = "A chat.completion, or a stream of chat.completion.chunk that ends with [DONE].";

fn operation(summary: &str, media_type: &str, tables: &[Table], required: &[&str], answer: &str) -> Value {
    let fields = tables.iter().flat_map(|table| table.iter());
    let properties: Map<String, Value> = fields.map(|field| (field.name.to_owned(), property(field))).collect();
    let schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    json!({
        "summary": summary,
        "requestBody": { "required": true, "content": { media_type: { "schema": schema } } },
        "responses": responses(answer, &["400", "404", "408", "413", "415", "429", "500", "503", "504"]),
    })
}

/// The same with the schema of its good answer, and that it can be a stream where it can.
fn described(mut operation: Value, schema: &str) -> Value {
    let mut content = json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } });
    if operation["requestBody"].is_object() {
        let events = "Where stream is true: each event's data is JSON with its type, but for the last of a chat.";
        content["text/event-stream"] = json!({ "schema": { "type": "string", "description": events } });
    }
    operation["responses"]["200"]["content"] = content;
    operation
}

/// A request without a body, which may go wrong in these ways besides not being served yet.
fn plain(summary: &str, bad: &[&str]) -> Value {
    json!({ "summary": summary, "responses": responses(summary, &[bad, &["503"]].concat()) })
}

fn with_name(mut operation: Value) -> Value {
    let name = json!({ "name": "model", "in": "path", "required": true, "schema": { "type": "string" } });
    operation["parameters"] = json!([name]);
    operation
}

fn responses(good: &str, bad: &[&str]) -> Value {
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({ "description": good }));
    // Any path answers so: to no key or a wrong one, to a page of another site, to another method, to an unknown Host.
    let bad = bad.iter().chain(&["401", "403", "405", "421"]);
    let error = json!({
        "description": "What went wrong.",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
    });
    let mut later = error.clone();
    later["headers"] = json!({ "Retry-After": {
        "description": "Seconds to wait before the next try.", "schema": { "type": "integer" },
    } });
    let of = |status: &str| if matches!(status, "429" | "503") { later.clone() } else { error.clone() };
    responses.extend(bad.map(|status| ((*status).to_owned(), of(status))));
    Value::Object(responses)
}

fn property(field: &Field) -> Value {
    let mut schema = match field.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Whole => json!({ "type": "integer", "minimum": 0 }),
        Kind::Number => json!({ "type": "number" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Choice(words) => json!({ "type": "string", "enum": words }),
        Kind::Texts => json!({ "type": ["string", "array"], "items": { "type": "string" } }),
        Kind::Messages => messages(),
        Kind::StreamOptions => json!({
            "type": "object", "properties": { "include_usage": { "type": "boolean" } }, "additionalProperties": false,
        }),
        Kind::File => json!({ "type": "string", "format": "binary" }),
        Kind::Only(values, _) => {
            let values: Vec<Value> = values.iter().filter_map(|value| serde_json::from_str(value).ok()).collect();
            json!({ "enum": values })
        }
        Kind::Ignored => json!({}),
    };
    let about = match field.kind {
        Kind::Ignored => format!("Accepted and ignored. {}", field.about),
        _ => field.about.to_owned(),
    };
    schema["description"] = about.trim_end().into();
    schema
}

fn messages() -> Value {
    let text = json!({
        "type": "object", "required": ["type", "text"],
        "properties": { "type": { "const": "text" }, "text": { "type": "string" } },
    });
    let url = json!({
        "type": "object", "required": ["url"],
        "properties": {
            "url": { "type": "string", "description": "data:image/png;base64,…; or an address, where the server fetches" },
        },
    });
    let image = json!({
        "type": "object", "required": ["type", "image_url"],
        "properties": { "type": { "const": "image_url" }, "image_url": url },
    });
    let content = json!({ "oneOf": [{ "type": "string" }, { "type": "array", "items": { "oneOf": [text, image] } }] });
    let message = json!({
        "type": "object", "required": ["role", "content"],
        "properties": { "role": { "enum": ["user", "assistant"] }, "content": content },
    });
    json!({ "type": "array", "items": message })
}
