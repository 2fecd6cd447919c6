//! Who asks, how urgently and until when: what both faces read off a request before its message is looked at.

use unipic_api::ApiError;
use unipic_serving::{CallContext, PRIORITY, Priority, Tenant};

use crate::admission::{Ask, Work};

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) call: CallContext,
}

impl Caller {
    /// The caller of an RPC.
    ///
    /// # Errors
    /// A priority that there is not.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Result<Self, ApiError> {
        let priority = request.metadata().get(PRIORITY).map(|value| value.as_bytes());
        Self::among(request.extensions(), priority)
    }

    /// The caller of an HTTP request.
    ///
    /// # Errors
    /// As [`Caller::of`].
    pub(crate) fn of_http<T>(request: &axum::http::Request<T>) -> Result<Self, ApiError> {
        Self::among(request.extensions(), request.headers().get(PRIORITY).map(|value| value.as_bytes()))
    }

    fn among(extensions: &axum::http::Extensions, priority: Option<&[u8]>) -> Result<Self, ApiError> {
        let priority = Priority::read(priority);
        let priority = priority.ok_or_else(|| ApiError::invalid(PRIORITY, "must be `interactive` or `batch`"))?;
        // Over HTTP a key is looked at behind the place where a call's context is made.
        let call = CallContext { tenant: Tenant::among(extensions), priority, ..CallContext::among(extensions) };
        Ok(Self { call })
    }

    /// What the gate is asked for.
    pub(crate) fn ask(&self, work: Work) -> Ask {
        Ask { tenant: self.call.tenant.clone(), priority: self.call.priority, work, deadline: self.call.deadline }
    }
}
