//! A server's life: loading, ready, draining, gone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::{Layer, Service};
use unipic_api::{ApiError, Reason};
use unipic_telemetry::CountedServerLayer;
use unipic_tls::ServerTlsConfig;

use crate::accepting::accept_until;
use crate::access::{Access, Guard};
use crate::call::CallLayer;
use crate::config::{Problems, Validate};
use crate::connections::ConnectionsConfig;
use crate::drain::{Drained, finish};
use crate::later::Later;
use crate::listen::{Accepted, ListenAddress, Listener};
use crate::ops::{self, Ops};
use crate::peers::Peers;
use crate::requests::request_metrics;
use crate::secure::{Door, GRPC, serve_peer};

/// When to try again what came while the weights are loaded: a small model is there then, and a large one was asked rarely.
const LOADS_ON: Duration = Duration::from_millis(500);

/// What an operator chooses about a server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where to listen: `127.0.0.1:50051` or `unix:/path`.
    pub listen: ListenAddress,
    /// How long a stop waits for the calls under way, in seconds.
    pub drain_seconds: f64,
    /// The longest any call may take, in seconds, whatever deadline its caller gives.
    pub max_call_seconds: f64,
    /// How many connections there may be, and for how long without a call.
    pub connections: ConnectionsConfig,
    /// Encryption, and which peers may call.
    pub tls: ServerTlsConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let listen = ListenAddress::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 50051)));
        let (connections, tls) = Default::default();
        Self { listen, drain_seconds: 25.0, max_call_seconds: 3600.0, connections, tls }
    }
}

impl Validate for ServerConfig {
    fn validate(&self, problems: &mut Problems) {
        let a_day = 0.0..=86_400.0;
        problems.check(a_day.contains(&self.drain_seconds), "drain_seconds", "must be from 0 to 86400");
        let is_right = self.max_call_seconds > 0.0 && a_day.contains(&self.max_call_seconds);
        problems.check(is_right, "max_call_seconds", "must be above 0 and at most 86400");
        problems.section("connections", &self.connections);
        problems.section("tls", &self.tls);
        let is_unix = matches!(self.listen, ListenAddress::Unix(_));
        problems.check(
            !is_unix || !self.tls.is_on(),
            "tls.certificate",
            "a Unix socket is not encrypted: listen on TCP",
        );
    }
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Loading,
    Ready,
    Draining,
}

impl State {
    /// Why a call is not taken now.
    pub(crate) fn refusal(self) -> Option<ApiError> {
        match self {
            Self::Ready => None,
            Self::Loading => Some(loading()),
            Self::Draining => Some(ApiError::unavailable(Reason::Draining)),
        }
    }
}

/// A call that came too early. Elsewhere it may go at once, which is why whoever drains names no time.
pub(crate) fn loading() -> ApiError {
    ApiError::Unavailable { reason: Reason::Loading, retry_after: Some(LOADS_ON) }
}

/// Tells a server and its health service when the process is warm.
#[derive(Debug, Clone)]
pub struct Readiness {
    health: HealthReporter,
    names: Vec<&'static str>,
    state: watch::Sender<State>,
}

impl Readiness {
    /// Calls are taken from now on and health says SERVING. A server that drains stays as it is.
    pub async fn ready(&self) {
        let is_new = self.state.send_if_modified(|state| {
            let is_loading = *state == State::Loading;
            if is_loading {
                *state = State::Ready;
            }
            is_loading
        });
        if is_new {
            self.tell(ServingStatus::Serving).await;
            tracing::info!("ready");
        }
    }

    async fn drain(&self) {
        self.state.send_replace(State::Draining);
        self.tell(ServingStatus::NotServing).await;
    }

    async fn tell(&self, status: ServingStatus) {
        // The empty name stands for the process as a whole.
        for name in self.names.iter().chain(&[""]) {
            self.health.set_service_status(*name, status).await;
        }
    }
}

/// The gRPC services of a process, with health and reflection.
#[derive(Debug)]
pub struct Services {
    routes: RoutesBuilder,
    readiness: Readiness,
    guard: Option<Arc<dyn Guard>>,
    ops: Ops,
}

impl Services {
    /// No services but `grpc.health.v1` and `grpc.reflection`, v1 and v1alpha. Health says NOT_SERVING until [`Readiness::ready`].
    pub async fn new() -> Self {
        let (health, health_service) = tonic_health::server::health_reporter();
        let mut routes = Routes::builder();
        routes.add_service(health_service);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(unipic_api::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // The first version says the same under another name, and is all that the grpcurl of some distributions asks for.
        match (reflection().build_v1(), reflection().build_v1alpha()) {
            (Ok(v1), Ok(v1alpha)) => {
                routes.add_service(v1);
                routes.add_service(v1alpha);
            }
            // The descriptors are constants and a test reads them, so this is out of reach; calls work without.
            (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no reflection"),
        }
        let readiness = Readiness { health, names: Vec::new(), state: watch::Sender::new(State::Loading) };
        // tonic-health says SERVING for the whole from the start.
        readiness.tell(ServingStatus::NotServing).await;
        Self { routes, readiness, guard: None, ops: Ops::default() }
    }

    /// Asks `guard` about every call, those to health, to reflection and to methods that nobody serves included.
    #[must_use]
    pub fn guarded_by(self, guard: Arc<dyn Guard>) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// Adds a generated server. Set its message limits before: they are the service's own.
    #[must_use]
    pub async fn add<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.readiness.names.push(S::NAME);
        self.readiness.health.set_service_status(S::NAME, ServingStatus::NotServing).await;
        self
    }

    /// Adds a generated server that is yet to be made, of weights that are yet to be loaded. Until it comes, its calls are
    /// refused as too early.
    #[must_use]
    pub async fn add_later<S>(self) -> (Self, Later<S>)
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let later = Later::new();
        (self.add(later.clone()).await, later)
    }

    /// Counts requests into the metrics of `ops`, and answers on its listener for as long as the server runs.
    #[must_use]
    pub fn with_ops(mut self, ops: Ops) -> Self {
        self.ops = ops;
        self
    }

    /// The handle to say that the process is warm. Take it after the last [`Services::add`].
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }
}

/// Serves until `shutdown` resolves; then takes no new calls or connections, waits for the calls under way, at most
/// for `drain_seconds`, ends those that are left as UNAVAILABLE, and closes every connection within a second.
///
/// Dropping the future closes everything at once.
pub async fn serve(
    listener: Listener,
    services: Services,
    config: &ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let Services { routes, readiness, guard, ops: Ops { metrics, listener: operators } } = services;
    let requests = CountedServerLayer(request_metrics(&metrics, &readiness.names));
    // Ends with this function: operators are answered until the last call has drained.
    let _operators = operators
        .map(|bound| AbortOnDropHandle::new(tokio::spawn(ops::answer(bound, metrics, readiness.state.subscribe()))));
    let (calls, cut) = (TaskTracker::new(), CancellationToken::new());
    let layer = CallLayer {
        max_call: Duration::from_secs_f64(config.max_call_seconds),
        state: readiness.state.subscribe(),
        calls: calls.clone(),
        cut: cut.clone(),
        access: Access { peers: Peers::new(&config.tls), guard },
    };
    let service = requests.layer(layer.layer(routes.routes().prepare()));
    let door = Door::open(&listener, config, &GRPC);
    let drain = CancellationToken::new();
    let connect = |accepted| {
        let (door, service, drain) = (door.clone(), service.clone(), drain.clone());
        async move {
            match accepted {
                Accepted::Tcp(stream, peer) => serve_peer(door, stream, Some(peer), service, drain).await,
                Accepted::Unix(stream) => serve_peer(door, stream, None, service, drain).await,
                Accepted::Other(stream, peer) => serve_peer(door, stream, Some(peer), service, drain).await,
            }
        }
    };
    let connections = tokio::select! {
        biased;
        connections = accept_until(&listener, &config.connections, shutdown, connect) => connections,
        never = door.follow_files() => match never {},
    };
    readiness.drain().await;
    drop(listener);
    drain.cancel();
    finish(connections, calls, Duration::from_secs_f64(config.drain_seconds), cut).await
}

/// [`serve`], with health at SERVING once `warm` has succeeded, which loads what is served and runs it once. The port answers
/// meanwhile: calls are refused as too early. A `shutdown` ends both.
///
/// # Errors
/// When `warm` fails; the server ends then.
pub async fn serve_when_warm<E>(
    listener: Listener,
    services: Services,
    config: &ServerConfig,
    shutdown: impl Future<Output = ()>,
    warm: impl Future<Output = Result<(), E>>,
) -> Result<Drained, E> {
    let readiness = services.readiness();
    let mut served = std::pin::pin!(serve(listener, services, config, shutdown));
    tokio::select! {
        // In this order, so that a simulation finds the same one first every time.
        biased;
        warmed = warm => {
            warmed?;
            readiness.ready().await;
            Ok(served.await)
        }
        drained = &mut served => Ok(drained),
    }
}
