//! Messages as OpenAI's clients write them, as turns.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use unipic_api::pb;

use crate::http::fields::Fields;

/// Base64 with or without its padding: clients send both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The turns of a request. What is no turn is noted and left out, which does no harm: then nothing is asked at all.
pub(super) fn turns(fields: &mut Fields) -> Vec<pb::Turn> {
    let Some(Value::Array(messages)) = fields.take("messages") else {
        fields.wrong("messages", "must be a list of messages");
        return Vec::new();
    };
    let turns = messages.into_iter().enumerate();
    turns.filter_map(|(index, message)| turn(fields, &format!("messages[{index}]"), message)).collect()
}

fn turn(fields: &mut Fields, path: &str, message: Value) -> Option<pb::Turn> {
    let Value::Object(mut message) = message else {
        fields.wrong(path, "must be an object with role and content");
        return None;
    };
    let role = role(fields, path, message.remove("role"));
    let content = message.remove("content").unwrap_or_default();
    message.remove("name");
    nothing_more(fields, path, &message);
    let parts = match content {
        Value::String(text) => vec![text_part(text)],
        Value::Array(parts) => {
            let parts = parts.into_iter().enumerate();
            parts.filter_map(|(index, value)| part(fields, &format!("{path}.content[{index}]"), value)).collect()
        }
        _ => {
            fields.wrong(&format!("{path}.content"), "must be a string or a list of parts");
            Vec::new()
        }
    };
    Some(pb::Turn { role: role? as i32, parts })
}

fn role(fields: &mut Fields, path: &str, role: Option<Value>) -> Option<pb::Role> {
    let what = match role.as_ref().and_then(Value::as_str) {
        Some("user") => return Some(pb::Role::User),
        Some("assistant") => return Some(pb::Role::Assistant),
        Some("system" | "developer") => {
            "the model was trained without system messages; say it in the first user message"
        }
        _ => "must be user or assistant",
    };
    fields.wrong(&format!("{path}.role"), what);
    None
}

fn part(fields: &mut Fields, path: &str, part: Value) -> Option<pb::Part> {
    let Value::Object(mut part) = part else {
        fields.wrong(path, "must be an object with type");
        return None;
    };
    let kind = part.remove("type").unwrap_or_default();
    let read = match kind.as_str() {
        Some("text") => match part.remove("text") {
            Some(Value::String(text)) => Ok(text_part(text)),
            _ => Err((format!("{path}.text"), "must be a string")),
        },
        Some("image_url") => image(part.remove("image_url")).map_err(|what| (format!("{path}.image_url"), what)),
        _ => Err((format!("{path}.type"), "must be text or image_url")),
    };
    if read.is_ok() {
        nothing_more(fields, path, &part);
    }
    read.map_err(|(path, what)| fields.wrong(&path, what)).ok()
}

/// Names what is left of an object whose known fields were taken.
fn nothing_more(fields: &mut Fields, path: &str, left: &Map<String, Value>) {
    // Clients that send an answer back send its empty fields too.
    for (name, _) in left.iter().filter(|(_, value)| !value.is_null()) {
        fields.wrong(&format!("{path}.{name}"), "is not a field that is known here");
    }
}

fn text_part(text: String) -> pb::Part {
    pb::Part { content: Some(pb::part::Content::Text(text)) }
}

/// An image from `{"url": "data:image/png;base64,…"}`. What the address says of its type does not matter: the file tells.
fn image(given: Option<Value>) -> Result<pb::Part, &'static str> {
    let given = given.unwrap_or_default();
    let url = given.get("url").unwrap_or(&given).as_str().ok_or("must be an object with url")?;
    let lower = |prefix: &str| url.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if lower("http:") || lower("https:") {
        return Err("remote images are not fetched by this server; send a data URI: data:image/png;base64,…");
    }
    let data = url.split_once(',').filter(|(head, _)| lower("data:") && head.ends_with(";base64"));
    let (_, text) = data.ok_or("must be a data URI: data:image/png;base64,…")?;
    let file = BASE64.decode(text).map_err(|_| "the data URI holds no valid base64")?;
    Ok(pb::Part { content: Some(pb::part::Content::Image(file.into())) })
}
