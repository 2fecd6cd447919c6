//! Statuses that blame the wrong side, put right on their way out.
//!
//! tonic answers a message beyond the size limit with OUT_OF_RANGE and bytes that are no valid message with INTERNAL.
//! Both are the caller's mistake. They can only be told by tonic's words, so the tests send such messages for real and
//! fail if the words ever change.

use http::HeaderMap;
use tonic::{Code, Status};
use unipic_api::ApiError;

/// Beginning of tonic's message for a request beyond the decoder's limit.
const OVERSIZE: &str = "Error, decoded message length too large";

/// Beginning of prost's message for bytes that are no valid message.
const UNDECODABLE: &str = "failed to decode Protobuf message: ";

/// Beginnings of tonic's messages for streams that are no gRPC.
const MALFORMED: [&str; 2] = ["Unexpected EOF decoding stream", "protocol error: received message with"];

/// Replaces the status in headers or trailers where it blames the wrong side.
pub(crate) fn put_right(headers: &mut HeaderMap) {
    let suspicious = [Code::OutOfRange, Code::Internal];
    let Some(status) = Status::from_header_map(headers).filter(|status| suspicious.contains(&status.code())) else {
        return;
    };
    if let Some(error) = translate(&status) {
        write_status(&Status::from(error), headers);
    }
}

/// Writes a status into headers or trailers, over the one there.
pub(crate) fn write_status(status: &Status, headers: &mut HeaderMap) {
    if status.add_header(headers).is_err() {
        // A message that is no header value; the code alone still ends the call properly.
        headers.insert("grpc-status", http::HeaderValue::from(status.code() as i32));
    }
}

fn translate(status: &Status) -> Option<ApiError> {
    let message = status.message();
    if status.code() == Code::OutOfRange {
        let limit = message.strip_prefix(OVERSIZE)?;
        return Some(ApiError::invalid("request", format!("the message is too large{limit}")));
    }
    if let Some(what) = message.strip_prefix(UNDECODABLE) {
        return Some(ApiError::invalid(field(what), format!("cannot be decoded: {what}")));
    }
    let is_malformed = MALFORMED.iter().any(|beginning| message.starts_with(beginning));
    is_malformed.then(|| ApiError::invalid("request", "the stream is no valid sequence of gRPC messages"))
}

/// The field's path in prost's `ImageOptions.width: GenerateRequest.options: what is wrong`, innermost first: here
/// `options.width`.
fn field(what: &str) -> String {
    let mut path: Vec<&str> = what
        .split(": ")
        .map_while(|step| step.split_once('.'))
        .map(|(_, field)| field)
        .filter(|field| field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    path.reverse();
    if path.is_empty() { "request".into() } else { path.join(".") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_from_prost_s_words() {
        assert_eq!(field("GenerateRequest.prompt: invalid string value"), "prompt");
        assert_eq!(field("ImageOptions.width: GenerateRequest.options: invalid wire type"), "options.width");
        assert_eq!(field("invalid tag value: 0"), "request");
    }

    #[test]
    fn faults_of_ours_stay_ours() {
        for status in [
            Status::internal("the model failed"),
            Status::out_of_range("Error, encoded message length too large: found 5 bytes, the limit is: 4 bytes"),
            Status::unavailable("failed to decode Protobuf message: A.b: c"),
        ] {
            let mut headers = HeaderMap::new();
            write_status(&status, &mut headers);
            put_right(&mut headers);
            assert_eq!(Status::from_header_map(&headers).unwrap().code(), status.code());
        }
    }
}
