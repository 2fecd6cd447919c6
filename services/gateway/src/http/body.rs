//! Reading a request's body: its type and size are judged before a byte of it is parsed.

use std::error::Error;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use unipic_api::{ApiError, limits::PUBLIC_REQUEST_BYTES};
use unipic_serving::SlowUpload;

use super::error::HttpError;
use crate::config::LimitsConfig;

/// Bytes of a body besides texts and images: names, numbers, a form's boundaries.
const BESIDE: usize = 64 << 10;

/// Fields of a form.
const MAX_FORM_FIELDS: usize = 64;

/// Bytes of a request for images: a prompt and a negative one, of which JSON may write every byte as six.
pub(super) fn prompt_bytes(limits: &LimitsConfig) -> usize {
    (limits.max_prompt_bytes as usize).saturating_mul(12).saturating_add(BESIDE)
}

/// Bytes of an edit's form: an image and a mask.
pub(super) fn form_bytes(limits: &LimitsConfig) -> usize {
    prompt_bytes(limits).saturating_add((limits.max_image_bytes as usize).saturating_mul(2))
}

/// Bytes of a conversation: what gRPC takes, with its images in base64.
pub(super) fn conversation_bytes(limits: &LimitsConfig) -> usize {
    let images = PUBLIC_REQUEST_BYTES.max(limits.max_image_bytes as usize);
    images.saturating_add(images / 3).saturating_add(prompt_bytes(limits))
}

/// The whole body of a request that must be JSON.
pub(super) async fn json(request: Request, most: usize) -> Result<Bytes, HttpError> {
    let is_json = media_type(request.headers()).is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(unsupported("application/json"));
    }
    let body = limited(request, most)?;
    Ok(body.collect().await.map_err(|error| upload_failed(&*error, most))?.to_bytes())
}

/// The parts of a form.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) texts: Vec<(String, String)>,
    pub(super) files: Vec<(String, Bytes)>,
}

/// The parts of a request that must be a form. The parts named in `files` are kept as bytes.
pub(super) async fn form(request: Request, most: usize, files: &[&str]) -> Result<Form, HttpError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|_| unsupported("multipart/form-data"))?;
    let body = Body::new(limited(request, most)?).into_data_stream();
    let mut parts = multer::Multipart::new(body, boundary);
    let failed = |error: multer::Error| upload_failed(&error, most);
    let mut form = Form::default();
    while let Some(part) = parts.next_field().await.map_err(failed)? {
        if form.texts.len() + form.files.len() >= MAX_FORM_FIELDS {
            let message = format!("a form has at most {MAX_FORM_FIELDS} parts");
            return Err(HttpError::new(StatusCode::BAD_REQUEST, "invalid_body", message));
        }
        let name = part.name().unwrap_or_default().to_owned();
        if files.contains(&name.as_str()) {
            form.files.push((name, part.bytes().await.map_err(failed)?));
        } else {
            let text = String::from_utf8(part.bytes().await.map_err(failed)?.into());
            let text = text.map_err(|_| ApiError::invalid(&name, "must be a text in UTF-8"))?;
            form.texts.push((name, text));
        }
    }
    Ok(form)
}

/// A request's media type, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.split_once(';').map_or(kind, |(kind, _)| kind).trim())
}

/// The body with its limit. One that says that it is longer is refused before it is sent.
fn limited(request: Request, most: usize) -> Result<Limited<Body>, HttpError> {
    let said =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|bytes| bytes > most as u64) {
        return Err(too_large(most));
    }
    Ok(Limited::new(request.into_body(), most))
}

fn too_large(most: usize) -> HttpError {
    let message = format!("the request's body is too large: at most {most} bytes are taken");
    HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

fn unsupported(expected: &str) -> HttpError {
    let message = format!("the request's Content-Type must be {expected}");
    HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_type", message)
}

/// Why a body could not be read, from the error's causes.
fn upload_failed(error: &(dyn Error + 'static), most: usize) -> HttpError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return too_large(most);
        }
        if error.is::<SlowUpload>() {
            return HttpError::new(StatusCode::REQUEST_TIMEOUT, "slow_upload", error.to_string());
        }
        cause = error.source();
    }
    HttpError::new(StatusCode::BAD_REQUEST, "invalid_body", "the request's body is cut short or no valid form")
}
