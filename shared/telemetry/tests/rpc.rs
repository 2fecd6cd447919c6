//! Spans of RPCs: parents cross the wire, a span lasts as long as its body, and every ending leaves a status.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::Instrument;
use unipic_telemetry::metrics::RequestMetrics;
use unipic_telemetry::{
    ClientTraceLayer, CountedServerLayer, LogFormat, Metrics, TelemetryConfig, Verdict, propagation, subscriber,
};

const PATH: &str = "/unipic.v1.UniPic/Generate";

/// Traces a server that has one method.
fn traced() -> CountedServerLayer {
    let methods = [(PATH.to_owned(), "UniPic/Generate".to_owned())];
    CountedServerLayer(RequestMetrics::new(&Metrics::default(), methods, |_| None))
}

/// What a test saw: spans and log lines.
struct Seen {
    exporter: InMemorySpanExporter,
    provider: SdkTracerProvider,
    log: Arc<Mutex<Vec<u8>>>,
    _default: tracing::subscriber::DefaultGuard,
}

impl Seen {
    fn start(log_format: LogFormat) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let log = Arc::new(Mutex::new(Vec::new()));
        let config = TelemetryConfig { log_format, ..TelemetryConfig::for_service("test") };
        let subscriber = subscriber(&config, &provider, Writer(log.clone()));
        Self { exporter, provider, log, _default: tracing::subscriber::set_default(subscriber) }
    }

    fn spans(&self) -> Vec<SpanData> {
        self.provider.force_flush().unwrap();
        self.exporter.get_finished_spans().unwrap()
    }

    fn log(&self) -> String {
        String::from_utf8(self.log.lock().unwrap().clone()).unwrap()
    }
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn trailers(code: &'static str) -> Frame<&'static [u8]> {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", code.parse().unwrap());
    Frame::trailers(headers)
}

/// A body of one data frame and a status, with a pause before each.
fn streaming_body(code: &'static str) -> impl Body<Data = &'static [u8], Error = Infallible> + Send + Unpin {
    let frames = vec![Frame::data(&b"x"[..]), trailers(code)];
    let stream = tokio_stream::StreamExt::then(tokio_stream::iter(frames), async |frame| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        tracing::info!("inside the body");
        Ok(frame)
    });
    StreamBody::new(Box::pin(stream))
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string())
}

#[tokio::test]
async fn a_call_is_one_trace_over_both_sides() {
    let seen = Seen::start(LogFormat::Text);
    let server = traced().layer(service_fn(async |request: Request<()>| {
        assert!(request.headers().contains_key("traceparent"));
        Ok::<_, Infallible>(Response::new(streaming_body("0")))
    }));
    let mut client = ClientTraceLayer.layer(server);
    let caller = tracing::info_span!("caller");
    async {
        let response = client.ready().await.unwrap().call(Request::get(PATH).body(()).unwrap()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    .instrument(caller)
    .await;

    let spans = seen.spans();
    let find = |kind: SpanKind| spans.iter().find(|span| span.span_kind == kind).unwrap();
    let (server, client) = (find(SpanKind::Server), find(SpanKind::Client));
    let caller = spans.iter().find(|span| span.name == "caller").unwrap();
    assert_eq!(server.name, "unipic.v1.UniPic/Generate");
    assert_eq!(server.parent_span_id, client.span_context.span_id());
    assert!(server.parent_span_is_remote);
    assert_eq!(client.parent_span_id, caller.span_context.span_id());
    assert!(spans.iter().all(|span| span.span_context.trace_id() == caller.span_context.trace_id()));
    for span in [server, client] {
        assert_eq!(attribute(span, "rpc.grpc.status_code").unwrap(), "0");
        assert_eq!(attribute(span, "rpc.method").unwrap(), "Generate");
        assert_eq!(span.status, Status::Unset);
        let lasted = span.end_time.duration_since(span.start_time).unwrap();
        assert!(lasted >= Duration::from_millis(10), "the span ended before its body: {lasted:?}");
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled() {
    let seen = Seen::start(LogFormat::Text);
    let mut server =
        traced().layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(streaming_body("0")))));
    let mut body = server.call(Request::get(PATH).body(()).unwrap()).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert!(seen.spans().is_empty());
    drop(body);
    let mut stuck = traced()
        .layer(service_fn(async |_: Request<()>| std::future::pending::<Result<Response<String>, Infallible>>().await));
    let call = stuck.call(Request::get(PATH).body(()).unwrap());
    assert!(tokio::time::timeout(Duration::from_millis(5), call).await.is_err());

    let spans = seen.spans();
    assert_eq!(spans.len(), 2);
    for span in spans {
        assert_eq!(attribute(&span, "rpc.grpc.status_code").unwrap(), "1");
        assert_eq!(span.status, Status::Unset, "a caller that goes away is no fault of the server");
    }
}

#[tokio::test]
async fn faults_mark_the_span_and_bad_requests_do_not() {
    for (code, is_error) in [("13", true), ("3", false), ("14", true), ("8", false)] {
        let seen = Seen::start(LogFormat::Text);
        let mut server = traced().layer(service_fn(move |_: Request<()>| {
            // Errors before the first message come without a body, with the status among the headers.
            let response = Response::builder().header("grpc-status", code).body(String::new()).unwrap();
            std::future::ready(Ok::<_, Infallible>(response))
        }));
        drop(server.call(Request::get(PATH).body(()).unwrap()).await.unwrap());
        let spans = seen.spans();
        assert_eq!(attribute(&spans[0], "rpc.grpc.status_code").unwrap(), code);
        assert_eq!(matches!(spans[0].status, Status::Error { .. }), is_error, "code {code}");
    }
}

#[tokio::test]
async fn health_checks_leave_no_spans() {
    let seen = Seen::start(LogFormat::Text);
    let mut server =
        traced().layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    let request = Request::get("/grpc.health.v1.Health/Check").body(()).unwrap();
    server.call(request).await.unwrap().into_body().collect().await.unwrap();
    assert!(seen.spans().is_empty());
}

#[tokio::test]
async fn paths_that_nobody_serves_have_one_name_in_common() {
    let seen = Seen::start(LogFormat::Text);
    let mut server =
        traced().layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    for path in ["/a/b", "/unipic.v1.UniPic/Draw", "/x/y/z", PATH] {
        server.call(Request::get(path).body(()).unwrap()).await.unwrap().into_body().collect().await.unwrap();
    }
    let spans = seen.spans();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["other", "other", "other", "unipic.v1.UniPic/Generate"]);
    assert!(
        spans[..3]
            .iter()
            .all(|span| attribute(span, "rpc.service").is_none() && attribute(span, "rpc.method").is_none())
    );
}

#[tokio::test]
async fn a_call_that_its_server_gave_up_has_the_server_s_verdict() {
    let seen = Seen::start(LogFormat::Text);
    let mut server = traced().layer(service_fn(async |_: Request<()>| {
        let verdict = Verdict::default();
        let mut response = Response::new(streaming_body("0"));
        response.extensions_mut().insert(verdict.clone());
        verdict.set(tonic::Code::DeadlineExceeded);
        Ok::<_, Infallible>(response)
    }));
    drop(server.call(Request::get(PATH).body(()).unwrap()).await.unwrap());
    assert_eq!(attribute(&seen.spans()[0], "rpc.grpc.status_code").unwrap(), "4");
}

#[tokio::test]
async fn log_lines_carry_the_trace() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let seen = Seen::start(format);
        tracing::info!("outside");
        let mut server =
            traced().layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(streaming_body("0")))));
        let body = server.call(Request::get(PATH).body(()).unwrap()).await.unwrap().into_body();
        body.collect().await.unwrap();
        let trace = seen.spans()[0].span_context.trace_id().to_string();
        let log = seen.log();
        assert_eq!(log.matches(&trace).count(), 2, "{log}");
        assert!(!log.lines().next().unwrap().contains(&trace), "{log}");
        if format == LogFormat::Json {
            for line in log.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(line["message"].is_string(), "{line}");
            }
        }
    }
}

#[test]
fn bad_headers_name_no_parent() {
    for value in ["", "00-zz", "00-00000000000000000000000000000000-0000000000000000-01", "ff-1-2-3"] {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", value.parse().unwrap());
        assert!(!propagation::extract(&headers).span().span_context().is_valid(), "{value:?}");
    }
}
