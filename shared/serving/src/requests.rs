//! What a server counts of its requests: which methods there are, and which endings are refusals.

use http::HeaderMap;
use prost::Message;
use tonic::Status;
use unipic_api::{ApiError, Reason};
use unipic_telemetry::Metrics;
use unipic_telemetry::metrics::RequestMetrics;

/// Counters of requests to the methods of our API; all others count as `other`.
pub(crate) fn request_metrics(metrics: &Metrics, services: &[&'static str]) -> RequestMetrics {
    let methods = methods().into_iter().filter(|(path, _)| {
        let service = path.trim_start_matches('/').split('/').next();
        services.iter().any(|name| Some(*name) == service)
    });
    RequestMetrics::new(metrics, methods, refusal)
}

/// Path and label of every method, such as `/unipic.v1.UniPic/Generate` and `UniPic/Generate`.
fn methods() -> Vec<(String, String)> {
    let decoded = prost_types::FileDescriptorSet::decode(unipic_api::pb::FILE_DESCRIPTOR_SET);
    // The descriptors are a constant that a test decodes.
    let files = decoded.map(|set| set.file).unwrap_or_default();
    let of_service = |package: String, service: prost_types::ServiceDescriptorProto| {
        let name = service.name().to_owned();
        service.method.into_iter().map(move |method| {
            let label = format!("{name}/{}", method.name());
            (format!("/{package}.{label}"), label)
        })
    };
    let of_file = |file: prost_types::FileDescriptorProto| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| of_service(package.clone(), service))
    };
    files.into_iter().flat_map(of_file).collect()
}

fn refusal(headers: &HeaderMap) -> Option<&'static str> {
    refusal_of(&ApiError::from_status(&Status::from_header_map(headers)?))
}

/// Why a request was refused before any work, as the metrics call it; none for one that failed in another way.
pub fn refusal_of(error: &ApiError) -> Option<&'static str> {
    match error {
        ApiError::Invalid(_) => Some("invalid"),
        ApiError::Unauthenticated => Some("unauthenticated"),
        ApiError::PermissionDenied(_) => Some("permission_denied"),
        ApiError::QuotaExceeded { .. } => Some("quota"),
        // Found out behind much work, not before any.
        ApiError::Overloaded { reason: Reason::DeviceMemory, .. } => None,
        ApiError::Overloaded { .. } => Some("queue_full"),
        ApiError::Unavailable { reason: Reason::Loading, .. } => Some("loading"),
        ApiError::Unavailable { reason: Reason::Draining, .. } => Some("draining"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_method_of_the_api_is_known() {
        let methods = methods();
        let has = |path: &str, label: &str| methods.contains(&(path.to_owned(), label.to_owned()));
        assert!(has("/unipic.v1.UniPic/Generate", "UniPic/Generate"), "{methods:?}");
        assert!(has("/unipic.v1.Decoder/Session", "Decoder/Session"), "{methods:?}");
    }

    #[test]
    fn refusals_are_told_from_failures() {
        let reason = |error: ApiError| {
            let mut headers = HeaderMap::new();
            Status::from(error).add_header(&mut headers).unwrap();
            refusal(&headers)
        };
        let retry_after = Duration::from_secs(1);
        assert_eq!(reason(ApiError::invalid("prompt", "is empty")), Some("invalid"));
        assert_eq!(reason(ApiError::Overloaded { reason: Reason::QueueFull, retry_after }), Some("queue_full"));
        assert_eq!(reason(ApiError::unavailable(Reason::Draining)), Some("draining"));
        assert_eq!(reason(ApiError::Unauthenticated), Some("unauthenticated"));
        assert_eq!(reason(ApiError::unavailable(Reason::BackendUnavailable)), None);
        assert_eq!(reason(ApiError::Fault(Reason::Bug)), None);
        assert_eq!(reason(ApiError::DeadlineExceeded), None);
    }
}
