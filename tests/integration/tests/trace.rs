//! One request is one trace: four processes export to a real OTLP collector in this test, which checks the tree.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot look has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use integration::processes::Split;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use unipic_api::pb::uni_pic_client::UniPicClient;
use unipic_api::pb::{GenerateRequest, ImageOptions, Part, Role, Turn, UnderstandRequest, part};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

/// A span as far as the test looks at it.
#[derive(Clone, Debug)]
struct Seen {
    service: String,
    name: String,
    id: String,
    parent: String,
}

#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Seen>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let service = attributes.iter().find(|a| a.key == "service.name").map(|a| format!("{:?}", a.value));
            let service = service.unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|s| s.spans) {
                if hex(&span.trace_id) == TRACE_ID {
                    let (id, parent) = (hex(&span.span_id), hex(&span.parent_span_id));
                    let seen = Seen { service: service.clone(), name: span.name, id, parent };
                    self.spans.lock().expect("no test thread panics").push(seen);
                }
            }
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The collected spans as a tree.
struct Tree(BTreeMap<String, Seen>);

impl Tree {
    fn of<'a>(&'a self, service: &'a str, name: &'a str) -> impl Iterator<Item = &'a Seen> {
        self.0.values().filter(move |s| s.service.contains(service) && s.name.contains(name))
    }

    /// Services on the way from a span up to the caller's own span.
    fn ancestry(&self, span: &Seen) -> Vec<&Seen> {
        let mut up = Vec::new();
        let mut parent = &span.parent;
        while let Some(next) = self.0.get(parent) {
            up.push(next);
            parent = &next.parent;
        }
        assert_eq!(parent, CLIENT_SPAN, "{span:?} does not lead up to the client's span: {up:?}");
        up
    }

    fn passes(&self, span: &Seen, service: &str) -> bool {
        self.ancestry(span).iter().any(|s| s.service.contains(service))
    }
}

fn traced<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = format!("00-{TRACE_ID}-{CLIENT_SPAN}-01").parse().expect("an ASCII header");
    request.metadata_mut().insert("traceparent", value);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_across_four_processes() -> anyhow::Result<()> {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let telemetry = format!("[telemetry]\notlp_endpoint = \"http://{}\"\n", listener.local_addr()?);
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
    let collecting = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let dir = tempfile::tempdir()?;
    let split = Split::start(dir.path(), &telemetry).await?;
    let mut client = UniPicClient::connect(split.gateway.url()).await?;
    let iterations = 3;
    let options = ImageOptions {
        seed: Some(3),
        iterations: Some(iterations),
        head_steps: Some(3),
        width: Some(64),
        height: Some(64),
        ..Default::default()
    };
    let generate = GenerateRequest { prompt: "a red circle".into(), options: Some(options), ..Default::default() };
    let mut images = Vec::new();
    let mut events = client.generate(traced(generate)).await?.into_inner();
    while let Some(event) = events.next().await {
        if let Some(unipic_api::pb::generate_response::Event::Image(image)) = event?.event {
            images.push(image.data);
        }
    }
    assert_eq!(images.len(), 1);
    let content = [part::Content::Image(images.remove(0)), part::Content::Text("What is this?".into())];
    let parts = content.into_iter().map(|c| Part { content: Some(c) }).collect();
    let turns = vec![Turn { role: Role::User.into(), parts }];
    let ask = UnderstandRequest { turns, max_tokens: Some(3), ..Default::default() };
    let mut events = client.understand(traced(ask)).await?.into_inner();
    while let Some(event) = events.next().await {
        event?;
    }
    drop((events, client));
    // Stopping flushes what the exporters still hold.
    split.stop().await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    collecting.abort();

    let spans = collector.spans.lock().expect("no test thread panics").clone();
    let tree = Tree(spans.into_iter().map(|s| (s.id.clone(), s)).collect());
    let names: BTreeSet<(String, String)> = tree.0.values().map(|s| (s.service.clone(), s.name.clone())).collect();
    for span in tree.0.values() {
        tree.ancestry(span);
    }
    for (service, name, through) in [
        ("gateway", "Generate", None),
        ("gateway", "Understand", None),
        ("synthesis", "Synthesize", Some("gateway")),
        ("decoder", "Session", Some("synthesis")),
        ("decoder", "prefill", Some("synthesis")),
        ("decoder", "probe", Some("synthesis")),
        ("synthesis", "head", Some("gateway")),
        ("synthesis", "vae", Some("gateway")),
        ("understanding", "EncodeSiglip", Some("gateway")),
        ("decoder", "Answer", Some("gateway")),
    ] {
        let found: Vec<&Seen> = tree.of(service, name).collect();
        assert!(!found.is_empty(), "no span {name} of {service} among {names:#?}");
        if let Some(through) = through {
            // An answer is prefilled too, and that is asked for by the gateway.
            assert!(found.iter().any(|s| tree.passes(s, through)), "{service} {name} is not below {through}");
        }
    }
    let loops = tree.of("synthesis", "iteration").filter(|s| s.name == "iteration").count();
    assert_eq!(loops, iterations as usize, "one span per iteration, among {names:#?}");
    Ok(())
}
