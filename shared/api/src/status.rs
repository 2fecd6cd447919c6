//! The one mapping between our errors and gRPC statuses, in both directions.
//!
//! Services fail with an [`ApiError`], which says what a caller can act on; codes and `google.rpc` details are chosen
//! here and nowhere else. What an error must not say is decided here too: a fault of ours carries a reason from a closed
//! list and never a message of a lower layer, because such messages name paths, shapes and addresses.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, QuotaViolation, StatusExt};

pub use tonic_types::FieldViolation;

/// The domain of every `ErrorInfo` of ours.
pub const DOMAIN: &str = "unipic";

/// How the text of a denial begins; taken off again when it is read.
const NOT_ALLOWED: &str = "not allowed: ";

/// Bytes of one text in a status. A codec may quote half a file in its complaint.
const TEXT_BYTES: usize = 240;

/// Bytes of all violations of a status. A status travels in headers, where the texts stand three times over, in part in
/// base64, and gRPC's clients take no more than 8 KiB: a longer one would reach them as another error altogether.
const VIOLATION_BYTES: usize = 1536;

/// Why a request was not served, machine-readable: `ErrorInfo.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Every place in the queue is taken.
    QueueFull,
    /// The deadline would pass before the request had its turn and was done, at the pace of late.
    DeadlineUnmeetable,
    /// The caller's tenant used up what it may use.
    QuotaExceeded,
    /// The weights are still being loaded or warmed up.
    Loading,
    /// The process is about to stop and takes no new work.
    Draining,
    /// A service behind this one cannot be reached, or went away.
    BackendUnavailable,
    /// The model produced values that are not finite.
    NonFinite,
    /// The device failed.
    DeviceFault,
    /// The device has no memory for the request now.
    DeviceMemory,
    /// A broken invariant of ours.
    Bug,
    /// No key came, or none that is valid.
    NoCredential,
    /// The caller is known and may not call this.
    NotAllowed,
    /// The server's certificate has no authority that the client trusts.
    ServerUntrusted,
    /// The server's certificate is expired or not yet valid.
    ServerCertificateExpired,
    /// The server's certificate is for another name or identity.
    ServerNameMismatch,
    /// The server does not take the client's certificate, or wants one.
    ClientCertificateRefused,
    /// The server does not speak TLS, or not as the client does.
    TlsFailed,
}

impl Reason {
    /// Every reason, for parsing.
    const ALL: [Self; 17] = [
        Self::QueueFull,
        Self::DeadlineUnmeetable,
        Self::QuotaExceeded,
        Self::Loading,
        Self::Draining,
        Self::BackendUnavailable,
        Self::NonFinite,
        Self::DeviceFault,
        Self::DeviceMemory,
        Self::Bug,
        Self::NoCredential,
        Self::NotAllowed,
        Self::ServerUntrusted,
        Self::ServerCertificateExpired,
        Self::ServerNameMismatch,
        Self::ClientCertificateRefused,
        Self::TlsFailed,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "QUEUE_FULL",
            Self::DeadlineUnmeetable => "DEADLINE_UNMEETABLE",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::Loading => "LOADING",
            Self::Draining => "DRAINING",
            Self::BackendUnavailable => "BACKEND_UNAVAILABLE",
            Self::NonFinite => "NON_FINITE",
            Self::DeviceFault => "DEVICE_FAULT",
            Self::DeviceMemory => "DEVICE_MEMORY",
            Self::Bug => "BUG",
            Self::NoCredential => "NO_CREDENTIAL",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::ServerUntrusted => "SERVER_UNTRUSTED",
            Self::ServerCertificateExpired => "SERVER_CERTIFICATE_EXPIRED",
            Self::ServerNameMismatch => "SERVER_NAME_MISMATCH",
            Self::ClientCertificateRefused => "CLIENT_CERTIFICATE_REFUSED",
            Self::TlsFailed => "TLS_FAILED",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// True for a handshake that failed on the client's side of a connection, before any call.
    fn is_about_tls(self) -> bool {
        matches!(
            self,
            Self::ServerUntrusted
                | Self::ServerCertificateExpired
                | Self::ServerNameMismatch
                | Self::ClientCertificateRefused
                | Self::TlsFailed
        )
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::QueueFull => "the server's queue is full",
            Self::DeadlineUnmeetable => "the deadline is sooner than the request can be done",
            Self::QuotaExceeded => "the quota is used up",
            Self::Loading => "the server is still loading its weights",
            Self::Draining => "the server is about to stop",
            Self::BackendUnavailable => "a service behind this one cannot be reached",
            Self::NonFinite => "the model produced values that are not finite",
            Self::DeviceFault => "the device failed",
            Self::DeviceMemory => "the device has no memory for the request now",
            Self::Bug => "the server broke one of its own rules",
            Self::NoCredential => "no valid credential was sent",
            Self::NotAllowed => "the caller may not do this",
            Self::ServerUntrusted => "no trusted authority vouches for the server's certificate",
            Self::ServerCertificateExpired => "the server's certificate is expired or not yet valid",
            Self::ServerNameMismatch => "the server's certificate is for another name or identity",
            Self::ClientCertificateRefused => "the server wants a certificate that it trusts from this client",
            Self::TlsFailed => "the TLS handshake with the server failed; perhaps it does not speak TLS",
        }
    }
}

/// What can go wrong with a request, in terms that a caller can act on.
#[derive(Debug, Clone)]
pub enum ApiError {
    /// INVALID_ARGUMENT: the request is wrong; every violation with its field.
    Invalid(Vec<FieldViolation>),
    /// UNAUTHENTICATED: no valid credential came.
    Unauthenticated,
    /// PERMISSION_DENIED: the credential does not allow this; says what.
    PermissionDenied(String),
    /// RESOURCE_EXHAUSTED: no room for the request now.
    Overloaded {
        /// Why: [`Reason::QueueFull`], [`Reason::DeadlineUnmeetable`] or [`Reason::DeviceMemory`].
        reason: Reason,
        /// When to try again.
        retry_after: Duration,
    },
    /// RESOURCE_EXHAUSTED: the caller used up what it may use.
    QuotaExceeded {
        /// Whose quota, such as `"tenant:acme"`.
        subject: String,
        /// Which quota, in a sentence.
        description: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// UNAVAILABLE: not this process, or not now; a retry may work, elsewhere or later.
    Unavailable {
        /// Why.
        reason: Reason,
        /// When to try again, where that is known.
        retry_after: Option<Duration>,
    },
    /// DEADLINE_EXCEEDED: the caller's deadline passed.
    DeadlineExceeded,
    /// CANCELLED: the caller went away.
    Cancelled,
    /// INTERNAL: a fault of ours. The cause belongs into the log, not here.
    Fault(Reason),
    /// A status that is not of this mapping, kept as it came.
    Other {
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
    },
}

impl ApiError {
    /// INVALID_ARGUMENT with one violation.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation::new(field, description)])
    }

    /// UNAVAILABLE without a time to come back.
    pub fn unavailable(reason: Reason) -> Self {
        Self::Unavailable { reason, retry_after: None }
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::PermissionDenied(_) => Code::PermissionDenied,
            Self::Overloaded { .. } | Self::QuotaExceeded { .. } => Code::ResourceExhausted,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Cancelled => Code::Cancelled,
            Self::Fault(_) => Code::Internal,
            Self::Other { code, .. } => *code,
        }
    }

    /// True when the same request may succeed later or on another replica.
    pub fn is_transient(&self) -> bool {
        matches!(self.code(), Code::Unavailable | Code::ResourceExhausted)
    }

    /// Reads a status that came from a server. Any status is understood; one that is not ours becomes
    /// [`ApiError::Other`].
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().filter(|info| info.domain == DOMAIN).and_then(|i| Reason::parse(&i.reason));
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        let other = || Self::Other { code: status.code(), message: status.message().to_owned() };
        match status.code() {
            Code::InvalidArgument => match details.bad_request() {
                Some(bad) if !bad.is_empty() => Self::Invalid(bad.field_violations.clone()),
                _ => other(),
            },
            Code::Unauthenticated => Self::Unauthenticated,
            Code::PermissionDenied => {
                let what = status.message();
                Self::PermissionDenied(what.strip_prefix(NOT_ALLOWED).unwrap_or(what).to_owned())
            }
            Code::ResourceExhausted => resource_exhausted(&details, reason, retry_after).unwrap_or_else(other),
            Code::Unavailable => match reason {
                Some(reason) => Self::Unavailable { reason, retry_after },
                None => other(),
            },
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::Cancelled => Self::Cancelled,
            Code::Internal => reason.map_or_else(other, Self::Fault),
            _ => other(),
        }
    }

    /// What a caller of ours is told when a service behind us failed with `status`.
    ///
    /// Codes that a caller can act on pass with their details. A transport that broke (UNKNOWN, and CANCELLED, which a
    /// peer's reset looks like) is UNAVAILABLE, and so is a handshake that failed: whose certificate is wrong is our affair. Whatever else is a fault of ours, and its message stays here: log it.
    pub fn from_backend(status: &Status) -> Self {
        match Self::from_status(status) {
            Self::Other { code: Code::InvalidArgument, message } => Self::invalid("request", message),
            Self::Other { code: Code::Unavailable | Code::Unknown | Code::ResourceExhausted, .. } | Self::Cancelled => {
                Self::unavailable(Reason::BackendUnavailable)
            }
            Self::Unavailable { reason, .. } if reason.is_about_tls() => Self::unavailable(Reason::BackendUnavailable),
            Self::Other { .. } | Self::Unauthenticated | Self::PermissionDenied(_) => Self::Fault(Reason::Bug),
            known => known,
        }
    }

    fn details(&self) -> ErrorDetails {
        let mut details = ErrorDetails::new();
        match self {
            Self::Invalid(violations) => {
                details.set_bad_request(violations.clone());
            }
            Self::Overloaded { reason, retry_after } => {
                details.set_error_info(reason.as_str(), DOMAIN, HashMap::new());
                details.set_retry_info(Some(*retry_after));
            }
            Self::QuotaExceeded { subject, description, retry_after } => {
                details.set_error_info(Reason::QuotaExceeded.as_str(), DOMAIN, HashMap::new());
                details.set_quota_failure(vec![QuotaViolation::new(subject, description)]);
                details.set_retry_info(Some(*retry_after));
            }
            Self::Unavailable { reason, retry_after } => {
                details.set_error_info(reason.as_str(), DOMAIN, HashMap::new());
                if retry_after.is_some() {
                    details.set_retry_info(*retry_after);
                }
            }
            Self::Fault(reason) => {
                details.set_error_info(reason.as_str(), DOMAIN, HashMap::new());
            }
            Self::Unauthenticated => {
                details.set_error_info(Reason::NoCredential.as_str(), DOMAIN, HashMap::new());
            }
            Self::PermissionDenied(_) => {
                details.set_error_info(Reason::NotAllowed.as_str(), DOMAIN, HashMap::new());
            }
            _ => {}
        }
        details
    }
}

fn resource_exhausted(
    details: &ErrorDetails,
    reason: Option<Reason>,
    retry_after: Option<Duration>,
) -> Option<ApiError> {
    let retry_after = retry_after?;
    if let Some(violation) = details.quota_failure().and_then(|quota| quota.violations.first()) {
        let (subject, description) = (violation.subject.clone(), violation.description.clone());
        return Some(ApiError::QuotaExceeded { subject, description, retry_after });
    }
    reason.map(|reason| ApiError::Overloaded { reason, retry_after })
}

/// The violations that fit a status, and how many more there are.
fn fitting(violations: Vec<FieldViolation>) -> Vec<FieldViolation> {
    let (total, mut room, mut kept) = (violations.len(), VIOLATION_BYTES, Vec::new());
    for violation in violations {
        let violation = FieldViolation::new(shortened(violation.field), shortened(violation.description));
        let Some(left) = room.checked_sub(violation.field.len() + violation.description.len()) else { break };
        room = left;
        kept.push(violation);
    }
    if kept.len() < total {
        let more = total - kept.len();
        kept.push(FieldViolation::new("request", format!("{more} further violations are not listed")));
    }
    kept
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        text.push('…');
    }
    text
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let error = match error {
            ApiError::Invalid(violations) => ApiError::Invalid(fitting(violations)),
            error => error,
        };
        if let ApiError::Other { code, message } = error {
            return Self::new(code, message);
        }
        Self::with_error_details(error.code(), error.to_string(), error.details())
    }
}

impl std::error::Error for ApiError {}

/// One or more sentences for a person, with fields, times and what to do.
impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Invalid(violations) => {
                f.write_str("invalid request")?;
                for (i, violation) in violations.iter().enumerate() {
                    let separator = if i == 0 { ": " } else { "; " };
                    write!(f, "{separator}{}: {}", violation.field, violation.description)?;
                }
                Ok(())
            }
            Self::Unauthenticated => f.write_str("no valid credential was sent"),
            Self::PermissionDenied(what) => write!(f, "{NOT_ALLOWED}{what}"),
            // On a server without other work, only more time helps.
            Self::Overloaded { reason: reason @ Reason::DeadlineUnmeetable, retry_after } => {
                let seconds = retry_after.as_secs_f64();
                write!(f, "{}; give it more time, or try again in {seconds:.1} s", reason.sentence())
            }
            Self::Overloaded { reason, retry_after } => {
                write!(f, "{}; try again in {:.1} s", reason.sentence(), retry_after.as_secs_f64())
            }
            Self::QuotaExceeded { subject, description, retry_after } => {
                write!(f, "{subject}: {description}; try again in {:.1} s", retry_after.as_secs_f64())
            }
            Self::Unavailable { reason, retry_after: None } => f.write_str(reason.sentence()),
            Self::Unavailable { reason, retry_after: Some(after) } => {
                write!(f, "{}; try again in {:.1} s", reason.sentence(), after.as_secs_f64())
            }
            Self::DeadlineExceeded => f.write_str("the deadline passed before the work was done"),
            Self::Cancelled => f.write_str("the request was cancelled"),
            Self::Fault(reason) => write!(f, "the server failed: {}", reason.sentence()),
            Self::Other { code, message } if message.is_empty() => write!(f, "{code}"),
            Self::Other { message, .. } => f.write_str(message),
        }
    }
}

/// Text for a person from any status: our errors with their fields and times, others by their message.
pub fn readable(status: &Status) -> String {
    ApiError::from_status(status).to_string()
}
