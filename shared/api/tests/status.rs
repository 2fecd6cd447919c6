//! Errors survive the trip through a gRPC status, and what reaches a caller can be acted on.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;
use unipic_api::status::{DOMAIN, readable};
use unipic_api::{ApiError, FieldViolation, Reason};
use unipic_measures::measured;

fn every_error() -> Vec<(ApiError, Code)> {
    let retry_after = Duration::from_millis(1500);
    let violations = vec![
        FieldViolation::new("prompt", "must not be empty"),
        FieldViolation::new("options.width", "must be a multiple of 16"),
    ];
    let quota = ("tenant:acme".to_owned(), "100 images an hour".to_owned());
    vec![
        (ApiError::Invalid(violations), Code::InvalidArgument),
        (ApiError::Unauthenticated, Code::Unauthenticated),
        (ApiError::PermissionDenied("images of others".into()), Code::PermissionDenied),
        (ApiError::Overloaded { reason: Reason::QueueFull, retry_after }, Code::ResourceExhausted),
        (ApiError::QuotaExceeded { subject: quota.0, description: quota.1, retry_after }, Code::ResourceExhausted),
        (ApiError::unavailable(Reason::Loading), Code::Unavailable),
        (ApiError::Unavailable { reason: Reason::Draining, retry_after: Some(retry_after) }, Code::Unavailable),
        (ApiError::DeadlineExceeded, Code::DeadlineExceeded),
        (ApiError::Cancelled, Code::Cancelled),
        (ApiError::Fault(Reason::NonFinite), Code::Internal),
        (ApiError::Fault(Reason::DeviceFault), Code::Internal),
        (ApiError::Fault(Reason::Bug), Code::Internal),
        (ApiError::unavailable(Reason::ServerUntrusted), Code::Unavailable),
        (ApiError::unavailable(Reason::ServerCertificateExpired), Code::Unavailable),
        (ApiError::unavailable(Reason::ServerNameMismatch), Code::Unavailable),
        (ApiError::unavailable(Reason::ClientCertificateRefused), Code::Unavailable),
        (ApiError::unavailable(Reason::TlsFailed), Code::Unavailable),
    ]
}

#[test]
fn errors_survive_the_trip() {
    for (error, code) in every_error() {
        let status = Status::from(error.clone());
        assert_eq!(status.code(), code, "{error:?}");
        let back = ApiError::from_status(&status);
        assert_eq!(format!("{back:?}"), format!("{error:?}"));
    }
}

#[test]
fn a_status_fits_its_headers_however_much_is_wrong() {
    let many = (0..50_000).map(|i| FieldViolation::new(format!("turns[0].parts[{i}]"), "must be a text or an image"));
    let quoted = FieldViolation::new("image", "×".repeat(200_000));
    for violations in [many.collect(), vec![quoted.clone()], vec![quoted; 100]] {
        let n = violations.len();
        let status = Status::from(ApiError::Invalid(violations));
        let headers = status.clone().into_http::<()>().into_parts().0.headers;
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert!(bytes <= 14 << 10, "{bytes} bytes of headers");
        let told = status.get_error_details().bad_request().unwrap().field_violations.clone();
        let last = &told[told.len() - 1];
        assert!(n == 1 || last.description == format!("{} further violations are not listed", n - (told.len() - 1)));
    }
}

#[test]
fn refusals_say_when_to_come_back() {
    let retry_after = Duration::from_secs(2);
    let status = Status::from(ApiError::Overloaded { reason: Reason::QueueFull, retry_after });
    let details = status.get_error_details();
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(retry_after));
    let info = details.error_info().unwrap();
    assert_eq!((info.domain.as_str(), info.reason.as_str()), (DOMAIN, "QUEUE_FULL"));
    assert!(readable(&status).contains("2.0 s"), "{}", readable(&status));
}

#[test]
fn every_violation_is_readable() {
    let (error, _) = every_error().swap_remove(0);
    let text = readable(&Status::from(error));
    assert!(text.contains("prompt: must not be empty"), "{text}");
    assert!(text.contains("options.width: must be a multiple of 16"), "{text}");
}

#[test]
fn a_backend_s_words_stay_inside() {
    let secret = "no such file: /var/lib/weights";
    let codes = [Code::Internal, Code::Unknown, Code::DataLoss, Code::FailedPrecondition, Code::Unavailable];
    for code in codes {
        let error = ApiError::from_backend(&Status::new(code, secret));
        let status = Status::from(error);
        assert!(!format!("{status:?}").contains("/var"), "{status:?}");
        assert!(matches!(status.code(), Code::Internal | Code::Unavailable));
    }
    measured!("kinds of a backend's errors that tell nothing of it", codes.len());
}

#[test]
fn a_broken_backend_is_transient() {
    for code in [Code::Unknown, Code::Unavailable, Code::Cancelled] {
        let error = ApiError::from_backend(&Status::new(code, "h2 protocol error"));
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.is_transient());
    }
}

#[test]
fn refused_callers_are_told_by_type() {
    for (error, reason) in [
        (ApiError::Unauthenticated, "NO_CREDENTIAL"),
        (ApiError::PermissionDenied("images of others".into()), "NOT_ALLOWED"),
    ] {
        let details = Status::from(error).get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), (DOMAIN, reason));
    }
}

#[test]
fn whose_certificate_is_wrong_stays_inside() {
    let reasons = [Reason::ServerUntrusted, Reason::ServerNameMismatch, Reason::ClientCertificateRefused];
    for wrong in reasons {
        let error = ApiError::from_backend(&Status::from(ApiError::unavailable(wrong)));
        let ApiError::Unavailable { reason, .. } = error else { panic!("{error:?}") };
        assert_eq!(reason, Reason::BackendUnavailable);
    }
    measured!("reasons that stay inside", reasons.len());
}

#[test]
fn foreign_details_are_not_mistaken_for_ours() {
    let mut details = tonic_types::ErrorDetails::new();
    details.set_error_info("QUEUE_FULL", "elsewhere.example", std::collections::HashMap::new());
    let status = Status::with_error_details(Code::Internal, "oops", details);
    assert!(matches!(ApiError::from_status(&status), ApiError::Other { code: Code::Internal, .. }));
    let garbage = Status::with_details(Code::InvalidArgument, "bad", bytes::Bytes::from_static(b"\xff\xff\xff"));
    assert_eq!(readable(&garbage), "bad");
}
