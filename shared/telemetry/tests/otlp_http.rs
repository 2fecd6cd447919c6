//! OTLP over plain HTTP: what a collector is sent, and where.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use unipic_telemetry::{OtlpProtocol, TelemetryConfig, init};

/// A request that came: method and path, content type, body.
type Posted = (String, String, Bytes);

/// A collector that takes everything and tells what it was.
async fn collect(listener: TcpListener, posted: mpsc::UnboundedSender<Posted>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let posted = posted.clone();
        let take = service_fn(move |request: Request<Incoming>| {
            let posted = posted.clone();
            async move {
                let (head, body) = request.into_parts();
                let kind = head.headers["content-type"].to_str().unwrap().to_owned();
                let body = body.collect().await.unwrap().to_bytes();
                posted.send((format!("{} {}", head.method, head.uri.path()), kind, body)).unwrap();
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), take));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_and_metrics_are_posted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // With a path, as behind a proxy.
    let otlp_endpoint = Some(format!("http://{}/otlp/", listener.local_addr().unwrap()));
    let (sender, mut posted) = mpsc::unbounded_channel();
    let collecting = tokio::spawn(collect(listener, sender));
    let (otlp_protocol, metrics_seconds) = (OtlpProtocol::Http, 3600);
    let config =
        TelemetryConfig { otlp_endpoint, otlp_protocol, metrics_seconds, ..TelemetryConfig::for_service("over-http") };
    let telemetry = init(&config).unwrap();
    tracing::info_span!("drawing").in_scope(|| telemetry.metrics().counter("unipic.things", "Things.").add(3, &[]));
    tokio::task::spawn_blocking(move || drop(telemetry)).await.unwrap();
    collecting.abort();

    let mut seen = Vec::new();
    while let Some((path, kind, body)) = posted.recv().await {
        assert_eq!(kind, "application/x-protobuf");
        seen.push(match path.as_str() {
            "POST /otlp/v1/traces" => {
                let sent = ExportTraceServiceRequest::decode(body).unwrap();
                sent.resource_spans[0].scope_spans[0].spans[0].name.clone()
            }
            "POST /otlp/v1/metrics" => {
                let sent = ExportMetricsServiceRequest::decode(body).unwrap();
                let metrics = sent.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
                metrics.flat_map(|scope| scope.metrics).find(|metric| metric.name == "unipic.things").unwrap().name
            }
            other => panic!("{other}"),
        });
        if seen.len() == 2 {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ["drawing", "unipic.things"]);
}
