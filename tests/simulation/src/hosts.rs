//! The processes of the simulation, each behind the shipped server with its deadlines, health and drain. The gateway is the
//! shipped one; the three services behind it keep to the shipped protocol and compute [`crate::truth`].

mod decoder;
mod gateway;
mod synthesis;
mod understanding;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Response, Status};
use unipic_api::ApiError;
use unipic_api::frames::{Assembler, FrameLimits, RawTensor};
use unipic_api::pb;
use unipic_client::{ClientTls, Connection, Endpoint, NoEndpoints, connect_over};
use unipic_serving::{ServerConfig, Services, serve_when_warm};

use crate::mutant::Mutant;
use crate::network::{Simulated, listen};

pub(crate) use decoder::decoder;
pub(crate) use gateway::{Behind, gateway};
pub(crate) use synthesis::synthesis;
pub(crate) use understanding::understanding;

/// Side of the square images that an encoder path takes, in pixels.
pub(crate) fn side_of(path: pb::EncoderPath) -> u32 {
    if path == pb::EncoderPath::Siglip2 { understanding::SIDE } else { synthesis::SIDE }
}

/// How long a process loads.
const LOADING: Duration = Duration::from_millis(150);
/// How long a process that is stopped waits for the calls under way, in seconds.
const DRAIN_SECONDS: f64 = 3.0;
/// Replies that may wait to be sent.
const WAITING: usize = 8;

/// What a process is given, and what it tells of itself.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) network: Simulated,
    /// Fires when it is to drain and end.
    pub(crate) stop: Arc<Notify>,
    /// Calls, sessions or requests that it holds.
    pub(crate) held: Gauge,
    /// How often it was started.
    pub(crate) starts: Arc<AtomicUsize>,
    /// What is wrong with it.
    pub(crate) mutant: Option<Mutant>,
}

impl Host {
    /// A connection to all replicas of a service, as a gateway or another service makes it.
    fn connect(&self, endpoints: &[Endpoint]) -> Result<Connection, NoEndpoints> {
        connect_over(Arc::new(self.network.clone()), endpoints, &ClientTls::default())
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Serves until the process is stopped.
    async fn serve(&self, services: Services) -> turmoil::Result {
        // Whatever a process held ended with it.
        self.held.set(0);
        let warm = async {
            tokio::time::sleep(LOADING).await;
            Ok::<_, ApiError>(())
        };
        serve_when_warm(listen().await?, services, &server_config(), self.stop.notified(), warm).await?;
        Ok(())
    }
}

fn server_config() -> ServerConfig {
    ServerConfig { drain_seconds: DRAIN_SECONDS, ..ServerConfig::default() }
}

/// Counts what is held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge {
    n: Arc<AtomicUsize>,
    /// So many that are not done are never given back.
    keeps: usize,
}

impl Gauge {
    pub(crate) fn new(keeps: usize) -> Self {
        Self { n: Arc::default(), keeps }
    }

    pub(crate) fn now(&self) -> usize {
        self.n.load(Ordering::Relaxed)
    }

    fn set(&self, n: usize) {
        self.n.store(n, Ordering::Relaxed);
    }

    fn hold(&self) -> Held {
        self.n.fetch_add(1, Ordering::Relaxed);
        Held { gauge: self.clone(), is_done: false }
    }
}

/// One thing held, until it is dropped; also when its process is killed.
#[derive(Debug)]
struct Held {
    gauge: Gauge,
    is_done: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_done || self.gauge.now() > self.gauge.keeps {
            self.gauge.n.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What a process remembers of the request before, which none may.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<u64>>>);

impl Memory {
    /// Remembers these, and gives what was remembered.
    fn swap(&self, now: Vec<u64>) -> Vec<u64> {
        std::mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

type Replies<T> = BoxStream<'static, Result<T, Status>>;

/// Runs a call's work as a task that ends with its replies, as the shipped services do.
fn reply<T, F>(held: Held, work: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F) -> Response<Replies<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<(), ApiError>> + Send + 'static,
{
    let (sender, replies) = mpsc::channel(WAITING);
    let work = work(sender.clone());
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut held = held;
        if let Err(error) = work.await {
            // Nobody listens any more: then nobody misses it.
            let _ = sender.send(Err(error.into())).await;
        }
        held.is_done = true;
    }));
    let replies = ReceiverStream::new(replies).map(move |reply| {
        let _alive = &task;
        reply
    });
    Response::new(replies.boxed())
}

/// Sends a reply.
async fn tell<T>(replies: &mpsc::Sender<Result<T, Status>>, reply: T) -> Result<(), ApiError> {
    replies.send(Ok(reply)).await.map_err(|_| ApiError::Cancelled)
}

/// Work that takes so long, by what it is about.
async fn compute(key: u64, least_ms: u64, most_ms: u64) {
    let span = most_ms.saturating_sub(least_ms).max(1);
    tokio::time::sleep(Duration::from_millis(least_ms + key % span)).await;
}

/// The next tensor of a stream of requests.
async fn tensor<T>(
    requests: &mut (impl Stream<Item = Result<T, Status>> + Unpin),
    frame: impl Fn(T) -> Option<pb::TensorFrame>,
) -> Result<RawTensor, ApiError> {
    let mut assembler = Assembler::new(FrameLimits::default());
    while let Some(request) = requests.next().await {
        let request = request.map_err(|status| ApiError::from_backend(&status))?;
        let frame = frame(request).ok_or_else(|| ApiError::invalid("frame", "is missing"))?;
        if let Some(tensor) = assembler.push(frame).map_err(|error| error.at("frame"))? {
            return Ok(tensor);
        }
    }
    Err(ApiError::invalid("frame", "is missing"))
}

/// f32 `[rows, cols]` as it travels.
fn matrix(rows: usize, cols: usize, values: &[f32]) -> Result<RawTensor, ApiError> {
    let data = crate::truth::bytes_of(values).into();
    RawTensor::new(pb::DType::DtypeF32, vec![rows as u32, cols as u32], data).map_err(|error| error.at("matrix"))
}

/// The rows of an f32 matrix.
fn rows(tensor: &RawTensor) -> Vec<Vec<f32>> {
    let width = tensor.shape.last().copied().unwrap_or(1) as usize;
    let value = |bytes: &[u8]| bytes.try_into().map(f32::from_le_bytes).unwrap_or_default();
    tensor.data.chunks(width * size_of::<f32>()).map(|row| row.chunks(size_of::<f32>()).map(value).collect()).collect()
}
