//! Errors for people and for programs.

use tonic::{Code, Status};
use unipic_api::ApiError;

/// Why a call failed. Its text names every wrong field of the request and says when to come back, where the server told.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct ClientError {
    error: ApiError,
    status: Box<Status>,
}

impl ClientError {
    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.error.code()
    }

    /// What went wrong, typed.
    pub fn api(&self) -> &ApiError {
        &self.error
    }

    /// The status as it came.
    pub fn status(&self) -> &Status {
        &self.status
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self { error: ApiError::from_status(&status), status: Box::new(status) }
    }
}

impl From<ApiError> for ClientError {
    fn from(error: ApiError) -> Self {
        Status::from(error).into()
    }
}
