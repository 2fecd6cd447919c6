//! Messages as OpenAI's clients write them, as turns.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use unipic_api::pb;

use super::remote::{self, Remote};
use crate::http::fields::Fields;

/// Base64 with or without its padding: clients send both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Turns, and the images that are still to be fetched into them.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// A stand-in is where an image is to be fetched to.
    pub(super) turns: Vec<pb::Turn>,
    pub(super) remote: Vec<Remote>,
}

/// The messages of a request, in which images may be addresses where `is_remote` allows it. What is no message is noted and
/// left out, which does no harm: then nothing is asked at all.
pub(super) fn messages(fields: &mut Fields, is_remote: bool) -> Messages {
    let mut read = Messages::default();
    let Some(Value::Array(messages)) = fields.take("messages") else {
        fields.wrong("messages", "must be a list of messages");
        return read;
    };
    for (at, message) in messages.into_iter().enumerate() {
        if let Some((turn, remote)) = turn(fields, at, message) {
            read.turns.push(turn);
            read.remote.extend(remote);
        }
    }
    if !is_remote {
        for image in read.remote.drain(..) {
            fields.wrong(
                &image.path,
                "remote images are not fetched by this server; send a data URI: data:image/png;base64,…",
            );
        }
    }
    read
}

fn turn(fields: &mut Fields, turn: usize, message: Value) -> Option<(pb::Turn, Vec<Remote>)> {
    let path = format!("messages[{turn}]");
    let Value::Object(mut message) = message else {
        fields.wrong(&path, "must be an object with role and content");
        return None;
    };
    let role = role(fields, &path, message.remove("role"));
    let content = message.remove("content").unwrap_or_default();
    message.remove("name");
    nothing_more(fields, &path, &message);
    let (mut parts, mut remote) = (Vec::new(), Vec::new());
    match content {
        Value::String(text) => parts.push(text_part(text)),
        Value::Array(given) => {
            for (part, value) in given.into_iter().enumerate() {
                let path = format!("{path}.content[{part}]");
                match self::part(fields, &path, value) {
                    Some(Read::Whole(part)) => parts.push(part),
                    Some(Read::At(url)) => {
                        parts.push(image_part(remote::STAND_IN.to_vec()));
                        remote.push(Remote { turn, part, path: format!("{path}.image_url"), url });
                    }
                    None => {}
                }
            }
        }
        _ => fields.wrong(&format!("{path}.content"), "must be a string or a list of parts"),
    }
    Some((pb::Turn { role: role? as i32, parts }, remote))
}

/// A part as it was sent.
enum Read {
    Whole(pb::Part),
    /// An image at an address.
    At(String),
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

fn part(fields: &mut Fields, path: &str, part: Value) -> Option<Read> {
    let Value::Object(mut part) = part else {
        fields.wrong(path, "must be an object with type");
        return None;
    };
    let kind = part.remove("type").unwrap_or_default();
    let read = match kind.as_str() {
        Some("text") => match part.remove("text") {
            Some(Value::String(text)) => Ok(Read::Whole(text_part(text))),
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

fn image_part(file: Vec<u8>) -> pb::Part {
    pb::Part { content: Some(pb::part::Content::Image(file.into())) }
}

/// An image from `{"url": "data:image/png;base64,…"}`. What the address says of its type does not matter: the file tells.
fn image(given: Option<Value>) -> Result<Read, &'static str> {
    let given = given.unwrap_or_default();
    let url = given.get("url").unwrap_or(&given).as_str().ok_or("must be an object with url")?;
    let lower = |prefix: &str| url.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if lower("http:") || lower("https:") {
        return Ok(Read::At(url.to_owned()));
    }
    let data = url.split_once(',').filter(|(head, _)| lower("data:") && head.ends_with(";base64"));
    let (_, text) = data.ok_or("must be a data URI: data:image/png;base64,…")?;
    let file = BASE64.decode(text).map_err(|_| "the data URI holds no valid base64")?;
    Ok(Read::Whole(image_part(file)))
}
