//! Calls against real servers that are late, gone, killed in the middle, or come up after the client.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status};
use unipic_api::frames::RawTensor;
use unipic_api::pb::uni_pic_server::{UniPic, UniPicServer};
use unipic_api::pb::*;
use unipic_api::{ApiError, FieldViolation, Reason};
use unipic_client::{CallOptions, Endpoint, UniPicClient};
use unipic_measures::measured;
use unipic_serving::{Drained, ListenAddress, ServerConfig, Services, serve};

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers as the prompt says and counts the calls.
#[derive(Default)]
struct Fake {
    calls: AtomicU32,
}

fn queued() -> Result<GenerateResponse, Status> {
    Ok(GenerateResponse { event: Some(generate_response::Event::Queued(Queued { position: 1 })) })
}

#[tonic::async_trait]
impl UniPic for Fake {
    type GenerateStream = Boxed<GenerateResponse>;
    type EditStream = Boxed<EditResponse>;
    type UnderstandStream = Boxed<UnderstandResponse>;
    type EmbedStream = Boxed<EmbedResponse>;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let full = ApiError::Overloaded { reason: Reason::QueueFull, retry_after: Duration::from_secs(9) };
        let gone = || Status::from(ApiError::unavailable(Reason::Draining));
        match request.get_ref().prompt.as_str() {
            "three" => Ok(Response::new(Box::pin(futures::stream::iter([queued(), queued(), queued()])))),
            "stall" => Ok(Response::new(Box::pin(futures::stream::iter([queued()]).chain(futures::stream::pending())))),
            "third time" if call < 2 => Err(gone()),
            "third time" => Ok(Response::new(Box::pin(futures::stream::iter([queued()])))),
            "gone later" => Ok(Response::new(Box::pin(futures::stream::iter([queued(), Err(gone())])))),
            "full" => Err(full.into()),
            _ => Err(ApiError::Invalid(vec![
                FieldViolation::new("prompt", "must not be empty"),
                FieldViolation::new("options.n", "must be at most 8"),
            ])
            .into()),
        }
    }

    async fn edit(&self, _: Request<EditRequest>) -> Result<Response<Self::EditStream>, Status> {
        Err(ApiError::unavailable(Reason::Loading).into())
    }

    async fn understand(&self, _: Request<UnderstandRequest>) -> Result<Response<Self::UnderstandStream>, Status> {
        std::future::pending().await
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<Self::EmbedStream>, Status> {
        let data = vec![7u8; 3 << 20];
        let tensor = RawTensor::new(DType::DtypeU8, vec![3, 1 << 20], data.into()).unwrap();
        // As many frames as the request's image has bytes: fewer than all make a truncated tensor.
        let frames = tensor.into_frames().take(request.get_ref().image.len());
        let events = frames.map(|frame| Ok(EmbedResponse { frame: Some(frame) }));
        Ok(Response::new(Box::pin(futures::stream::iter(events))))
    }

    async fn get_model(&self, _: Request<GetModelRequest>) -> Result<Response<GetModelResponse>, Status> {
        let n = self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(GetModelResponse { name: n.to_string(), ..GetModelResponse::default() }))
    }
}

struct Server {
    endpoint: Endpoint,
    fake: Arc<Fake>,
    task: JoinHandle<Drained>,
}

impl Server {
    async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    async fn at(address: &str) -> Self {
        let listener = address.parse::<ListenAddress>().unwrap().bind().await.unwrap();
        let endpoint = match listener.address().unwrap() {
            ListenAddress::Tcp(address) => format!("http://{address}"),
            unix => unix.to_string(),
        };
        let fake = Arc::new(Fake::default());
        let services = Services::new().await.add(UniPicServer::from_arc(fake.clone())).await;
        services.readiness().ready().await;
        let task =
            tokio::spawn(
                async move { serve(listener, services, &ServerConfig::default(), std::future::pending()).await },
            );
        Self { endpoint: endpoint.parse().unwrap(), fake, task }
    }

    fn client(&self) -> UniPicClient {
        client(std::slice::from_ref(&self.endpoint))
    }

    fn calls(&self) -> u32 {
        self.fake.calls.load(Ordering::Relaxed)
    }
}

fn client(endpoints: &[Endpoint]) -> UniPicClient {
    let options = CallOptions { backoff: Duration::from_millis(20), ..CallOptions::default() };
    UniPicClient::new(endpoints).unwrap().with_options(options)
}

fn prompt(prompt: &str) -> GenerateRequest {
    GenerateRequest { prompt: prompt.into(), ..GenerateRequest::default() }
}

#[tokio::test]
async fn events_come_in_full_over_tcp_and_unix() {
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", folder.path().join("s.sock").display());
    for address in ["127.0.0.1:0", &unix] {
        let server = Server::at(address).await;
        let events = server.client().generate(prompt("three")).await.unwrap();
        assert_eq!(events.map(Result::unwrap).count().await, 3);
    }
}

#[tokio::test]
async fn unavailable_is_tried_again_and_bad_requests_are_not() {
    let server = Server::start().await;
    let events = server.client().generate(prompt("third time")).await.unwrap();
    assert_eq!(events.count().await, 1);
    assert_eq!(server.calls(), 3);
    for text in ["", "full"] {
        let before = server.calls();
        server.client().generate(prompt(text)).await.unwrap_err();
        assert_eq!(server.calls(), before + 1);
    }
}

#[tokio::test]
async fn what_began_is_not_repeated() {
    let server = Server::start().await;
    let events: Vec<_> = server.client().generate(prompt("gone later")).await.unwrap().collect().await;
    assert!(events[0].is_ok());
    assert_eq!(events[1].as_ref().unwrap_err().code(), Code::Unavailable);
    assert_eq!((events.len(), server.calls()), (2, 1));
}

#[tokio::test]
async fn errors_are_readable() {
    let server = Server::start().await;
    let error = server.client().generate(prompt("")).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let text = error.to_string();
    assert!(text.contains("prompt: must not be empty") && text.contains("options.n: must be at most 8"), "{text}");
    let text = server.client().generate(prompt("full")).await.unwrap_err().to_string();
    assert!(text.contains("queue is full") && text.contains("9.0 s"), "{text}");
}

#[tokio::test]
async fn retrying_has_an_end() {
    let server = Server::start().await;
    let start = Instant::now();
    let error = server.client().edit(EditRequest::default()).await.unwrap_err();
    assert!(matches!(error.api(), ApiError::Unavailable { reason: Reason::Loading, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let error = client(&[endpoint]).get_model().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
}

#[tokio::test]
async fn a_server_may_come_up_after_its_client() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let endpoint = format!("http://{address}").parse().unwrap();
    let client = client(&[endpoint]);
    let call = tokio::spawn(async move { client.get_model().await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let _server = Server::at(&address).await;
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn late_is_deadline_exceeded_before_and_in_a_stream() {
    let server = Server::start().await;
    let options = CallOptions { deadline: Duration::from_millis(150), ..CallOptions::default() };
    let client = server.client().with_options(options);
    let start = Instant::now();
    let error = client.understand(UnderstandRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    let events: Vec<_> = client.generate(prompt("stall")).await.unwrap().collect().await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].as_ref().unwrap_err().code(), Code::DeadlineExceeded);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_unavailable() {
    let server = Server::start().await;
    let mut events = server.client().generate(prompt("stall")).await.unwrap();
    events.next().await.unwrap().unwrap();
    let start = Instant::now();
    server.task.abort();
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(events.next().await.is_none());
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn another_replica_takes_over() {
    let (first, second) = (Server::start().await, Server::start().await);
    let client = client(&[first.endpoint.clone(), second.endpoint.clone()]);
    for _ in 0..4 {
        client.get_model().await.unwrap();
    }
    assert_eq!((first.calls(), second.calls()), (2, 2));
    first.task.abort();
    assert!(first.task.await.unwrap_err().is_cancelled());
    for _ in 0..4 {
        client.get_model().await.unwrap();
    }
    assert_eq!(second.calls(), 6);
}

#[tokio::test]
async fn embeddings_come_whole_or_not_at_all() {
    let server = Server::start().await;
    let embed = async |n_frames: usize| {
        let request = EmbedRequest { image: vec![0; n_frames].into(), ..EmbedRequest::default() };
        server.client().embed(request).await
    };
    let tensor = embed(3).await.unwrap();
    assert_eq!((tensor.shape, tensor.data.len()), (vec![3, 1 << 20], 3 << 20));
    for n_frames in [0, 2] {
        assert_eq!(embed(n_frames).await.unwrap_err().code(), Code::Internal);
    }
}

#[tokio::test]
async fn a_silent_server_is_noticed() {
    // Takes connections and bytes and never answers: a partition, as the client sees it.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let hold = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let options = CallOptions { attempts: 1, ..CallOptions::default() };
    let start = Instant::now();
    let error = client(&[endpoint]).with_options(options).get_model().await.unwrap_err();
    let took = start.elapsed();
    measured!("noticed after, s", format!("{:.1}", took.as_secs_f64()));
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    hold.abort();
}
