//! A call over a real connection is one trace, with the server's span under the client's.
//!
//! The only test of its process: tracing decides per call site and process whether a span is worth making, and tests
//! that run beside this one without a subscriber would have a say.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, iter};
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tonic::{Request, Response, Status};
use tracing::Instrument;
use unipic_api::pb::synthesis_server::{Synthesis, SynthesisServer};
use unipic_api::pb::*;
use unipic_serving::{CallContext, ListenAddress, ServerConfig, Services, serve};
use unipic_telemetry::TelemetryConfig;

type Boxed<T> = BoxStream<'static, Result<T, Status>>;

/// Echoes how many messages came, in a span of its own.
struct Echo;

#[tonic::async_trait]
impl Synthesis for Echo {
    type SynthesizeStream = Boxed<SynthesizeResponse>;
    type EncodeMarStream = Boxed<EncodeMarResponse>;

    async fn synthesize(
        &self,
        request: Request<tonic::Streaming<SynthesizeRequest>>,
    ) -> Result<Response<Self::SynthesizeStream>, Status> {
        assert!(!CallContext::of(&request).cancel.is_cancelled());
        let n = request.into_inner().count().instrument(tracing::info_span!("work")).await;
        Ok(Response::new(iter((0..n).map(|_| Ok(SynthesizeResponse::default()))).boxed()))
    }

    async fn encode_mar(
        &self,
        _: Request<tonic::Streaming<EncodeMarRequest>>,
    ) -> Result<Response<Self::EncodeMarStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_synthesis_info(
        &self,
        _: Request<GetSynthesisInfoRequest>,
    ) -> Result<Response<GetSynthesisInfoResponse>, Status> {
        Ok(Response::new(GetSynthesisInfoResponse::default()))
    }
}

#[tokio::test]
async fn a_call_is_one_trace_through_both_processes() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let config = TelemetryConfig::for_service("test");
    let subscriber = unipic_telemetry::subscriber(&config, &provider, std::io::sink);
    // This thread's only, and the runtime has no other.
    let _default = tracing::subscriber::set_default(subscriber);

    let listener = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().await.unwrap();
    let endpoint = format!("http://{}", listener.address().unwrap()).parse().unwrap();
    let services = Services::new().await.add(SynthesisServer::new(Echo)).await;
    services.readiness().ready().await;
    tokio::spawn(async move { serve(listener, services, &ServerConfig::default(), std::future::pending()).await });

    let mut client = unipic_client::synthesis(unipic_client::connect(&[endpoint]).unwrap());
    let messages = iter([SynthesizeRequest::default(), SynthesizeRequest::default()]);
    let call = client.synthesize(messages).instrument(tracing::info_span!("user"));
    assert_eq!(call.await.unwrap().into_inner().count().await, 2);

    let mut spans = Vec::new();
    for _ in 0..200 {
        spans = exporter.get_finished_spans().unwrap();
        if spans.len() >= 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let of_kind = |kind: SpanKind| spans.iter().find(|span| span.span_kind == kind).unwrap();
    let (client, server) = (of_kind(SpanKind::Client), of_kind(SpanKind::Server));
    assert_eq!(client.name, "unipic.v1.Synthesis/Synthesize");
    assert_eq!(client.parent_span_id, named("user").span_context.span_id());
    assert_eq!(server.parent_span_id, client.span_context.span_id());
    assert_eq!(named("work").parent_span_id, server.span_context.span_id());
    assert!(spans.iter().all(|span| span.span_context.trace_id() == server.span_context.trace_id()));
}
