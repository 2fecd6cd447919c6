//! The listener for operators, and what a server counts of its requests.

#![allow(clippy::unwrap_used, clippy::panic)] // A test fails by panicking.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};
use unipic_api::pb::uni_pic_client::UniPicClient;
use unipic_api::pb::uni_pic_server::{UniPic, UniPicServer};
use unipic_api::pb::*;
use unipic_api::{ApiError, Reason};
use unipic_measures::measured;
use unipic_serving::{Drained, ListenAddress, Ops, OpsConfig, Readiness, ServerConfig, Services, serve};
use unipic_telemetry::{Metrics, TelemetryConfig};

struct Fake;

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl UniPic for Fake {
    type GenerateStream = Events<GenerateResponse>;
    type EditStream = Events<EditResponse>;
    type UnderstandStream = Events<UnderstandResponse>;
    type EmbedStream = Events<EmbedResponse>;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        match request.get_ref().prompt.as_str() {
            "good" => Ok(Response::new(Box::pin(futures::stream::iter([Ok(GenerateResponse::default())])))),
            "full" => {
                let retry_after = Duration::from_secs(1);
                Err(ApiError::Overloaded { reason: Reason::QueueFull, retry_after }.into())
            }
            "fault later" => {
                Ok(Response::new(Box::pin(futures::stream::iter([Err(ApiError::Fault(Reason::DeviceFault).into())]))))
            }
            "wait" => {
                let first = futures::stream::iter([Ok(GenerateResponse::default())]);
                Ok(Response::new(Box::pin(first.chain(futures::stream::pending()))))
            }
            _ => Err(ApiError::invalid("prompt", "is not known here").into()),
        }
    }

    async fn edit(&self, _: Request<EditRequest>) -> Result<Response<Self::EditStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn understand(&self, _: Request<UnderstandRequest>) -> Result<Response<Self::UnderstandStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn embed(&self, _: Request<EmbedRequest>) -> Result<Response<Self::EmbedStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_model(&self, _: Request<GetModelRequest>) -> Result<Response<GetModelResponse>, Status> {
        Ok(Response::new(GetModelResponse::default()))
    }
}

struct Running {
    rpc: String,
    operators: String,
    readiness: Readiness,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Drained>,
}

async fn start() -> Running {
    let any: ListenAddress = "127.0.0.1:0".parse().unwrap();
    let listener = any.bind().await.unwrap();
    let rpc = format!("http://{}", listener.address().unwrap());
    // The port for operators has to be known, so it is picked here and bound again: nothing else runs to take it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let metrics = Metrics::new(&TelemetryConfig::for_service("test")).unwrap();
    let ops = Ops::bind(&OpsConfig { listen: Some(ListenAddress::Tcp(free)) }, metrics).await.unwrap();
    let services = Services::new().await.add(UniPicServer::new(Fake)).await.with_ops(ops);
    let readiness = services.readiness();
    let (stop, stopped) = oneshot::channel::<()>();
    let config = ServerConfig::default();
    let server =
        tokio::spawn(async move { serve(listener, services, &config, async move { drop(stopped.await) }).await });
    Running { rpc, operators: free.to_string(), readiness, stop, server }
}

/// The whole answer to a request, headers included.
async fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn probes_follow_the_server_s_life() {
    let running = start().await;
    let get = |path: &'static str| {
        let address = running.operators.clone();
        async move { ask(&address, &format!("GET {path}")).await }
    };
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").await.contains("503 Service Unavailable"));
    assert!(get("/readyz").await.ends_with("loading\n"));
    running.readiness.ready().await;
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get("/secrets").await.starts_with("HTTP/1.1 404"));
    assert!(ask(&running.operators, "POST /metrics").await.starts_with("HTTP/1.1 405"));

    // A call that is under way keeps the server draining, and operators are still answered.
    let mut client = UniPicClient::connect(running.rpc.clone()).await.unwrap();
    let mut held = client.generate(GenerateRequest { prompt: "wait".into(), ..Default::default() }).await.unwrap();
    held.get_mut().message().await.unwrap();
    running.stop.send(()).unwrap();
    let draining = async {
        while !ask(&running.operators, "GET /readyz").await.ends_with("draining\n") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), draining).await.expect("readiness ends with the drain");
    drop(held);
    assert_eq!(running.server.await.unwrap().calls_cut_off, 0);
    assert!(TcpStream::connect(&running.operators).await.is_err(), "the listener ends with the server");
}

#[tokio::test]
async fn requests_are_counted_by_method_and_ending() {
    let running = start().await;
    let mut client = UniPicClient::connect(running.rpc.clone()).await.unwrap();
    let generate = |prompt: &str| GenerateRequest { prompt: prompt.into(), ..Default::default() };
    client.generate(generate("good")).await.unwrap_err(); // Still loading.
    running.readiness.ready().await;
    let mut good = client.generate(generate("good")).await.unwrap().into_inner();
    while good.message().await.unwrap().is_some() {}
    client.generate(generate("full")).await.unwrap_err();
    client.generate(generate("nonsense")).await.unwrap_err();
    client.generate(generate("fault later")).await.unwrap().into_inner().message().await.unwrap_err();
    client.edit(EditRequest::default()).await.unwrap_err();
    client.get_model(GetModelRequest {}).await.unwrap();
    let mut late = Request::new(generate("wait"));
    late.set_timeout(Duration::from_millis(500));
    let mut late = client.generate(late).await.unwrap().into_inner();
    while late.message().await.is_ok() {}
    let mut dropped = client.generate(generate("wait")).await.unwrap().into_inner();
    dropped.message().await.unwrap();
    let text = ask(&running.operators, "GET /metrics").await;
    assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
    assert!(text.contains("unipic_requests_running{method=\"UniPic/Generate\"} 1"), "{text}");
    drop(dropped);

    let wanted = [
        "unipic_requests_running{method=\"UniPic/Generate\"} 0",
        "unipic_requests_total{code=\"OK\",method=\"UniPic/Generate\"} 1",
        "unipic_requests_total{code=\"OK\",method=\"UniPic/GetModel\"} 1",
        "unipic_requests_total{code=\"UNAVAILABLE\",method=\"UniPic/Generate\"} 1",
        "unipic_requests_total{code=\"RESOURCE_EXHAUSTED\",method=\"UniPic/Generate\"} 1",
        "unipic_requests_total{code=\"INVALID_ARGUMENT\",method=\"UniPic/Generate\"} 1",
        "unipic_requests_total{code=\"INTERNAL\",method=\"UniPic/Generate\"} 1",
        "unipic_requests_total{code=\"DEADLINE_EXCEEDED\",method=\"UniPic/Generate\"} 1",
        "unipic_requests_total{code=\"CANCELLED\",method=\"UniPic/Generate\"} 1",
        "unipic_requests_total{code=\"UNIMPLEMENTED\",method=\"UniPic/Edit\"} 1",
        "unipic_request_duration_seconds_count{code=\"OK\",method=\"UniPic/Generate\"} 1",
        "unipic_requests_refused_total{reason=\"loading\"} 1",
        "unipic_requests_refused_total{reason=\"queue_full\"} 1",
        "unipic_requests_refused_total{reason=\"invalid\"} 1",
    ];
    // The server learns of a call that was dropped a moment later.
    for _ in 0..2000 {
        let text = ask(&running.operators, "GET /metrics").await;
        if wanted.iter().all(|line| text.lines().any(|found| found == *line)) {
            assert!(!text.contains("method=\"other\""), "{text}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let text = ask(&running.operators, "GET /metrics").await;
    let missing: Vec<_> = wanted.iter().filter(|line| !text.lines().any(|found| found == **line)).collect();
    panic!("{missing:#?} are not in\n{text}");
}

#[tokio::test]
async fn a_method_that_is_made_up_makes_no_label() {
    let running = start().await;
    running.readiness.ready().await;
    let channel = tonic::transport::Endpoint::from_shared(running.rpc.clone()).unwrap().connect().await.unwrap();
    for name in ["/a.B/C", "/unipic.v1.UniPic/Steal", "/unipic.v1.Decoder/Session"] {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<GetModelRequest, GetModelResponse>::default();
        let called = client.unary(Request::new(GetModelRequest {}), name.parse().unwrap(), codec).await;
        assert_eq!(called.unwrap_err().code(), tonic::Code::Unimplemented);
    }
    let text = ask(&running.operators, "GET /metrics").await;
    assert!(text.contains("unipic_requests_total{code=\"UNIMPLEMENTED\",method=\"other\"} 3"), "{text}");
    assert!(!text.contains("Steal") && !text.contains("Decoder"), "{text}");
}

#[tokio::test]
async fn whoever_says_nothing_is_sent_away_and_connections_are_few() {
    let running = start().await;
    let began = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(&running.operators).await.unwrap());
    }
    silent[0].write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.unwrap();
    let mut beyond = TcpStream::connect(&running.operators).await.unwrap();
    // An end, or a reset where the other side had not read yet.
    let read = tokio::time::timeout(Duration::from_secs(10), beyond.read(&mut [0; 16])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0, "one connection too many is closed at once");
    for stream in &mut silent {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a silent connection was kept");
    }
    measured!("silent connections", silent.len());
    measured!("closed after, s", format!("{:.1}", began.elapsed().as_secs_f64()));
    assert!(ask(&running.operators, "GET /healthz").await.starts_with("HTTP/1.1 200"));
}
