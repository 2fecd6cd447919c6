//! A server with a service that does what a prompt says, and clients of it.

#![allow(dead_code, clippy::panic)] // Each test uses its part; the service panics where it is asked to.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use unipic_api::pb::uni_pic_client::UniPicClient;
use unipic_api::pb::uni_pic_server::{UniPic, UniPicServer};
use unipic_api::pb::*;
use unipic_serving::{CallContext, Drained, ListenAddress, Ops, OpsConfig, Readiness, ServerConfig, Services, serve};
use unipic_telemetry::{Metrics, TelemetryConfig};

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A service whose Generate does what the prompt says, and which reports the end of a call's work.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) ended: mpsc::Sender<Instant>,
}

impl Fake {
    /// Sends progress every 10 ms until its context is over, then reports.
    fn stream(&self, context: CallContext, n: u32) -> Events<GenerateResponse> {
        let (sender, receiver) = mpsc::channel(1);
        let ended = self.ended.clone();
        tokio::spawn(async move {
            for iteration in 0..n {
                let event = generate_response::Event::Progress(Progress { iteration, ..Progress::default() });
                let over = tokio::select! {
                    () = context.cancel.cancelled() => true,
                    () = tokio::time::sleep(Duration::from_millis(10)) => {
                        sender.send(Ok(GenerateResponse { event: Some(event) })).await.is_err()
                    }
                };
                if over {
                    break;
                }
            }
            ended.send(Instant::now()).await.unwrap();
        });
        Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))
    }
}

#[tonic::async_trait]
impl UniPic for Fake {
    type GenerateStream = Events<GenerateResponse>;
    type EditStream = Events<EditResponse>;
    type UnderstandStream = Events<UnderstandResponse>;
    type EmbedStream = Events<EmbedResponse>;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        let context = CallContext::of(&request);
        match request.get_ref().prompt.as_str() {
            "ten" => Ok(Response::new(self.stream(context, 10))),
            "forever" => Ok(Response::new(self.stream(context, u32::MAX))),
            "eager" => {
                // Large enough to fill the flow-control window soon; until then such a stream never yields.
                let preview = Preview { data: vec![0; 1 << 16].into(), ..Preview::default() };
                let event = GenerateResponse { event: Some(generate_response::Event::Preview(preview)) };
                Ok(Response::new(Box::pin(futures::stream::repeat_with(move || Ok(event.clone())))))
            }
            "no answer" => std::future::pending().await,
            "panic" => panic!("as asked"),
            "panic later" => Ok(Response::new(Box::pin(futures::stream::poll_fn(|_| panic!("as asked"))))),
            other => Err(Status::invalid_argument(other.to_owned())),
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

    async fn get_model(&self, request: Request<GetModelRequest>) -> Result<Response<GetModelResponse>, Status> {
        assert!(request.remote_addr().is_some());
        Ok(Response::new(GetModelResponse::default()))
    }
}

pub(crate) struct Running {
    pub(crate) address: String,
    pub(crate) readiness: Readiness,
    pub(crate) ended: mpsc::Receiver<Instant>,
    pub(crate) metrics: Metrics,
    pub(crate) server: JoinHandle<Drained>,
    stop: Option<oneshot::Sender<()>>,
}

impl Running {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let (sender, ended) = mpsc::channel(8);
        let listener = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().await.unwrap();
        let address = format!("http://{}", listener.address().unwrap());
        let service = UniPicServer::new(Fake { ended: sender }).max_decoding_message_size(1 << 20);
        let metrics = Metrics::new(&TelemetryConfig::for_service("test")).unwrap();
        let ops = Ops::bind(&OpsConfig::default(), metrics.clone()).await.unwrap();
        let services = Services::new().await.add(service).await.with_ops(ops);
        let readiness = services.readiness();
        let (stop, stopped) = oneshot::channel::<()>();
        let server =
            tokio::spawn(async move { serve(listener, services, &config, async move { drop(stopped.await) }).await });
        Self { address, readiness, ended, metrics, server, stop: Some(stop) }
    }

    pub(crate) async fn ready(config: ServerConfig) -> Self {
        let running = Self::start(config).await;
        running.readiness.ready().await;
        running
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.address.clone()).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> UniPicClient<Channel> {
        UniPicClient::new(self.channel().await)
    }

    /// A client that was let in.
    pub(crate) async fn client_or_none(&self) -> Option<UniPicClient<Channel>> {
        let channel = Endpoint::from_shared(self.address.clone()).unwrap().connect().await.ok()?;
        let mut client = UniPicClient::new(channel);
        client.get_model(GetModelRequest {}).await.ok()?;
        Some(client)
    }

    /// HTTP/2 without gRPC's manners, and the task that ends with the connection.
    pub(crate) async fn bare<B>(&self) -> (hyper::client::conn::http2::SendRequest<B>, JoinHandle<hyper::Result<()>>)
    where
        B: http_body::Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: Send + Unpin + 'static,
    {
        let peer = tokio::net::TcpStream::connect(self.address.strip_prefix("http://").unwrap()).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(peer)).await.unwrap();
        (sender, tokio::spawn(connection))
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

pub(crate) fn prompt(prompt: &str) -> Request<GenerateRequest> {
    Request::new(GenerateRequest { prompt: prompt.into(), ..GenerateRequest::default() })
}

/// A request with a deadline. Once the response has begun, only the server acts on it.
pub(crate) fn late(text: &str, grpc_timeout: &str) -> Request<GenerateRequest> {
    let mut request = prompt(text);
    request.metadata_mut().insert("grpc-timeout", grpc_timeout.parse().unwrap());
    request
}

pub(crate) async fn last_status(mut events: tonic::Streaming<GenerateResponse>) -> (usize, Option<Status>) {
    let mut n = 0;
    while let Some(event) = events.next().await {
        match event {
            Ok(_) => n += 1,
            Err(status) => return (n, Some(status)),
        }
    }
    (n, None)
}
