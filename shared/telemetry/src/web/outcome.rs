//! How a plain HTTP request ended, in gRPC's words, so that both faces of a server are counted under the same labels.

use std::sync::{Arc, OnceLock};

use http::StatusCode;
use tonic::Code;

/// The end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// gRPC's code for it.
    pub code: Code,
    /// Why it was refused without work, if it was: a word of the metrics' closed list.
    pub refusal: Option<&'static str>,
}

impl Ending {
    /// What a status says where nothing more is known.
    pub fn of_status(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            100..=399 => Code::Ok,
            401 => Code::Unauthenticated,
            403 | 421 => Code::PermissionDenied,
            404 => Code::NotFound,
            405 => Code::Unimplemented,
            408 => Code::Aborted,
            429 => Code::ResourceExhausted,
            503 => Code::Unavailable,
            504 => Code::DeadlineExceeded,
            400..=499 => Code::InvalidArgument,
            _ => Code::Internal,
        };
        Self { code, refusal: None }
    }
}

/// Where a handler says how its request ended, among the extensions of its response: a stream that has begun has a good status
/// already and can still fail. What is said first counts.
#[derive(Debug, Clone, Default)]
pub struct Outcome(Arc<OnceLock<Ending>>);

impl Outcome {
    /// Says it.
    pub fn set(&self, ending: Ending) {
        // A second word about the same request is about its consequences.
        let _ = self.0.set(ending);
    }

    pub(super) fn get(&self) -> Option<Ending> {
        self.0.get().copied()
    }
}
