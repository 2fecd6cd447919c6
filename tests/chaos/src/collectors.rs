//! Collectors of traces and metrics that are no help.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// How long a slow one takes over an export.
const SLOW: Duration = Duration::from_secs(5);

/// What a collector does with an export.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Refuses it at once: for lack of room, then as not there, in turn.
    Refuses,
    /// Takes it, after seconds.
    Slow,
}

/// A collector that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) port: u16,
    asked: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Collector {
    /// One that takes connections and never reads from them.
    pub(crate) async fn deaf() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (port, asked) = (listener.local_addr()?.port(), Arc::<AtomicUsize>::default());
        let taken = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                taken.fetch_add(1, Ordering::Relaxed);
                held.push(stream);
            }
        });
        Ok(Self { port, asked, _task: AbortOnDropHandle::new(task) })
    }

    /// One that answers.
    pub(crate) async fn answering(manner: Manner) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (port, asked) = (listener.local_addr()?.port(), Arc::<AtomicUsize>::default());
        let service = Unhelpful { manner, asked: Arc::clone(&asked) };
        let server = Server::builder()
            .add_service(TraceServiceServer::new(service.clone()))
            .add_service(MetricsServiceServer::new(service));
        let task = tokio::spawn(async move {
            if let Err(error) = server.serve_with_incoming(TcpListenerStream::new(listener)).await {
                eprintln!("a collector ended: {error}");
            }
        });
        Ok(Self { port, asked, _task: AbortOnDropHandle::new(task) })
    }

    /// Exports that came, or connections where it reads none.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Debug)]
struct Unhelpful {
    manner: Manner,
    asked: Arc<AtomicUsize>,
}

impl Unhelpful {
    async fn answer<T: Default>(&self) -> Result<Response<T>, Status> {
        let before = self.asked.fetch_add(1, Ordering::Relaxed);
        match self.manner {
            Manner::Refuses if before.is_multiple_of(2) => Err(Status::resource_exhausted("no room")),
            Manner::Refuses => Err(Status::unavailable("not now")),
            Manner::Slow => {
                tokio::time::sleep(SLOW).await;
                Ok(Response::new(T::default()))
            }
        }
    }
}

#[tonic::async_trait]
impl TraceService for Unhelpful {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.answer().await
    }
}

#[tonic::async_trait]
impl MetricsService for Unhelpful {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.answer().await
    }
}
