//! Errors as OpenAI's clients read them: a status, and `{"error": {"message", "type", "param", "code"}}`.
//!
//! What an error says is decided where gRPC's is, in `unipic_api`: it passes through a status of gRPC on its way here, so
//! both faces cut long texts alike and keep the same things to themselves.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tonic::{Code, Status};
use unipic_api::{ApiError, Reason};
use unipic_serving::refusal_of;
use unipic_telemetry::web::{Ending, Outcome};

use super::reply;

/// When to come back where nothing better is known.
const RETRY: Duration = Duration::from_secs(1);

/// A refusal or a failure.
#[derive(Debug, Clone)]
pub(super) struct HttpError {
    status: StatusCode,
    code: &'static str,
    param: Option<String>,
    message: String,
    retry_after: Option<Duration>,
    /// What is counted of it.
    ending: Ending,
}

impl HttpError {
    /// An error without a field and a time to come back.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let ending = Ending { refusal: status.is_client_error().then_some("invalid"), ..Ending::of_status(status) };
        Self { status, code, param: None, message: message.into(), retry_after: None, ending }
    }

    /// What is counted of it.
    pub(super) fn ending(&self) -> Ending {
        self.ending
    }

    /// The same, blaming a field.
    pub(super) fn at(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }

    /// The body: also what a stream tells that has begun.
    pub(super) fn to_json(&self) -> Value {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let status = self.status.as_u16();
        json!({"error": {
            "message": self.message, "type": kind, "param": self.param, "code": self.code, "status": status,
        }})
    }
}

/// What a reason is called in `code`.
fn code_of(reason: Reason) -> &'static str {
    match reason {
        Reason::QueueFull => "queue_full",
        Reason::DeadlineUnmeetable => "deadline_unmeetable",
        Reason::QuotaExceeded => "quota_exceeded",
        Reason::Loading => "loading",
        Reason::Draining => "draining",
        Reason::BackendUnavailable => "backend_unavailable",
        Reason::NonFinite => "non_finite",
        Reason::DeviceFault => "device_fault",
        Reason::DeviceMemory => "device_memory",
        Reason::Bug => "bug",
        Reason::NoCredential => "invalid_api_key",
        Reason::NotAllowed => "not_allowed",
        Reason::ServerUntrusted
        | Reason::ServerCertificateExpired
        | Reason::ServerNameMismatch
        | Reason::ClientCertificateRefused
        | Reason::TlsFailed => "tls_failed",
    }
}

impl From<ApiError> for HttpError {
    fn from(error: ApiError) -> Self {
        Status::from(error).into()
    }
}

impl From<Status> for HttpError {
    fn from(status: Status) -> Self {
        let error = ApiError::from_status(&status);
        let message = error.to_string();
        let ending = Ending { code: error.code(), refusal: refusal_of(&error) };
        let with = |status, code| Self { ending, ..Self::new(status, code, &message) };
        match error {
            ApiError::Invalid(violations) => Self {
                param: violations.into_iter().next().map(|violation| violation.field),
                ..with(StatusCode::BAD_REQUEST, "invalid_value")
            },
            ApiError::Unauthenticated => with(StatusCode::UNAUTHORIZED, "invalid_api_key"),
            ApiError::PermissionDenied(_) => with(StatusCode::FORBIDDEN, "not_allowed"),
            ApiError::Overloaded { reason, retry_after } => {
                Self { retry_after: Some(retry_after), ..with(StatusCode::TOO_MANY_REQUESTS, code_of(reason)) }
            }
            ApiError::QuotaExceeded { retry_after, .. } => {
                Self { retry_after: Some(retry_after), ..with(StatusCode::TOO_MANY_REQUESTS, "quota_exceeded") }
            }
            ApiError::Unavailable { reason, retry_after } => Self {
                retry_after: Some(retry_after.unwrap_or(RETRY)),
                ..with(StatusCode::SERVICE_UNAVAILABLE, code_of(reason))
            },
            ApiError::DeadlineExceeded => with(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
            // Nobody is there to read this one.
            ApiError::Cancelled => with(StatusCode::REQUEST_TIMEOUT, "cancelled"),
            ApiError::Fault(reason) => with(StatusCode::INTERNAL_SERVER_ERROR, code_of(reason)),
            ApiError::Other { code: Code::Aborted, .. } => with(StatusCode::REQUEST_TIMEOUT, "aborted"),
            ApiError::Other { .. } => with(StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = reply(self.status, &self.to_json());
        let outcome = Outcome::default();
        outcome.set(self.ending);
        response.extensions_mut().insert(outcome);
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry_after) = self.retry_after {
            let seconds = retry_after.as_secs_f64().ceil().max(1.0) as u64;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
