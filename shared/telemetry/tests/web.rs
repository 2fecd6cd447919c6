//! Spans of plain HTTP: parents come in, a span lasts as long as its body, and only the server's faults mark it.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use std::convert::Infallible;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use opentelemetry::trace::Status;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tower::{Layer, Service, ServiceExt, service_fn};
use unipic_telemetry::{TelemetryConfig, WebTraceLayer, subscriber};

type Answer = Response<Full<&'static [u8]>>;

fn route(method: &Method, path: &str) -> Option<&'static str> {
    (method == Method::POST && path == "/v1/pictures").then_some("POST /v1/pictures")
}

/// The spans of one request to a service that answers with `status`; the body is read to its end or dropped.
async fn spans(path: &str, status: u16, is_read: bool) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let subscriber = subscriber(&TelemetryConfig::for_service("test"), &provider, std::io::sink);
    let _default = tracing::subscriber::set_default(subscriber);
    let mut service = WebTraceLayer::new(route).layer(service_fn(move |_: Request<()>| async move {
        let mut response: Answer = Response::new(Full::new(b"x"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        Ok::<_, Infallible>(response)
    }));
    let request = Request::post(path)
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(())
        .unwrap();
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    if is_read {
        response.into_body().collect().await.unwrap();
    } else {
        drop(response);
    }
    provider.force_flush().unwrap();
    exporter.get_finished_spans().unwrap()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|found| found.value.to_string())
}

#[tokio::test]
async fn a_request_is_one_span_below_its_caller_s() {
    let spans = spans("/v1/pictures", 200, true).await;
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(
        (span.name.as_ref(), span.parent_span_id.to_string().as_str()),
        ("POST /v1/pictures", "b7ad6b7169203331")
    );
    assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(attribute(span, "http.route").as_deref(), Some("/v1/pictures"));
    assert_eq!(attribute(span, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!((attribute(span, "cancelled"), &span.status), (None, &Status::Unset));
}

#[tokio::test]
async fn faults_and_departures_are_told_apart() {
    let fault = spans("/v1/pictures", 503, true).await;
    assert!(matches!(fault[0].status, Status::Error { .. }), "{fault:?}");
    let refusal = spans("/v1/pictures", 400, true).await;
    assert_eq!(refusal[0].status, Status::Unset);
    let dropped = spans("/v1/pictures", 200, false).await;
    assert_eq!(attribute(&dropped[0], "cancelled").as_deref(), Some("true"));
}

#[tokio::test]
async fn paths_that_nobody_serves_leave_no_span() {
    assert!(spans("/wp-admin", 404, true).await.is_empty());
}
