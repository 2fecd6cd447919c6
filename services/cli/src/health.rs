//! `health`: whether a server takes calls, for whoever starts and stops containers.
//!
//! Images of containers have neither a shell nor a gRPC client of their own, so the program that is there anyway asks.

use std::fmt;
use std::time::Duration;

use serde_json::json;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use unipic_api::{ApiError, Reason};
use unipic_client::Connection;

use crate::args::Health;
use crate::connect::{endpoint, tls};
use crate::progress::Progress;

/// The server that is asked where none is named.
const HERE: &str = "http://127.0.0.1:50051";

/// Why a server does not count as healthy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unhealthy {
    /// It answered, and takes no calls: it loads, drains, or waits for what it depends on.
    NotServing,
    /// It has no service of that name.
    UnknownService(String),
    /// Nothing usable came back in time.
    Unreachable(String),
}

impl fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServing => f.write_str("NOT_SERVING"),
            Self::UnknownService(name) => write!(f, "the server has no service `{name}`"),
            Self::Unreachable(why) => write!(f, "no answer from the server: {why}"),
        }
    }
}

impl std::error::Error for Unhealthy {}

/// Asks `grpc.health.v1` once and says SERVING.
///
/// # Errors
/// [`Unhealthy`], or an address that is none.
pub(crate) async fn health(args: &Health, progress: &Progress) -> anyhow::Result<()> {
    let url = args.server.url.as_deref().unwrap_or(HERE);
    let endpoint = endpoint(url)?;
    let connection = unipic_client::connect_with(std::slice::from_ref(&endpoint), &tls(&endpoint, &args.server)?)?;
    let limit = Duration::from_secs(args.timeout);
    let asked = tokio::time::timeout(limit, ask(connection, &args.service)).await;
    let late = |_| Unhealthy::Unreachable(format!("nothing within {} s", args.timeout));
    asked.map_err(late)??;
    progress.result("SERVING", json!({ "status": "SERVING" }));
    Ok(())
}

async fn ask(connection: Connection, service: &str) -> anyhow::Result<()> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(connection).check(request).await.map_err(|status| match status.code() {
        Code::NotFound => Unhealthy::UnknownService(service.to_owned()),
        _ => Unhealthy::Unreachable(why(&status)),
    })?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        _ => Err(Unhealthy::NotServing.into()),
    }
}

/// What a server that did not answer is told of. Health is told by the server itself, so whatever cannot be reached is it.
fn why(status: &tonic::Status) -> String {
    match ApiError::from_status(status) {
        ApiError::Unavailable { reason: Reason::BackendUnavailable, .. } => {
            "it cannot be reached; is it running, and is this its address?".to_owned()
        }
        _ => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::oneshot;
    use unipic_serving::{ListenAddress, ServerConfig, Services, serve_when_warm};

    use super::*;
    use crate::args::Server;

    fn at(url: String) -> Server {
        Server { url: Some(url), ..Server::default() }
    }

    async fn asked(server: &str, service: &str) -> Result<(), Unhealthy> {
        let args = Health { server: at(server.into()), service: service.into(), timeout: 30 };
        let outcome = health(&args, &Progress::new(true)).await;
        outcome.map_err(|error| error.downcast().unwrap())
    }

    #[tokio::test]
    async fn a_server_is_healthy_once_it_is_warm() {
        let folder = tempfile::tempdir().unwrap();
        let server = format!("unix:{}", folder.path().join("server.sock").display());
        let unreachable = asked(&server, "").await;
        assert!(
            matches!(unreachable, Err(Unhealthy::Unreachable(why)) if why.contains("is it running")),
            "nobody listens"
        );

        let listener = server.parse::<ListenAddress>().unwrap().bind().await.unwrap();
        let (warm, warmed) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let config = ServerConfig::default();
        let serving = async {
            let shutdown = async { stopped.await.unwrap() };
            let warmed = async {
                warmed.await.unwrap();
                Ok::<_, Infallible>(())
            };
            serve_when_warm(listener, Services::new().await, &config, shutdown, warmed).await.unwrap()
        };
        let asking = async {
            assert_eq!(asked(&server, "").await, Err(Unhealthy::NotServing));
            warm.send(()).unwrap();
            // The server hears of it when its task runs.
            while asked(&server, "").await == Err(Unhealthy::NotServing) {
                tokio::task::yield_now().await;
            }
            assert_eq!(asked(&server, "").await, Ok(()));
            assert_eq!(asked(&server, "no.Such").await, Err(Unhealthy::UnknownService("no.Such".into())));
            stop.send(()).unwrap();
        };
        tokio::join!(serving, asking);
        assert!(matches!(asked(&server, "").await, Err(Unhealthy::Unreachable(_))), "it has stopped");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_unreachable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silent.sock");
        let _silent = tokio::net::UnixListener::bind(&path).unwrap();
        let args = Health { server: at(format!("unix:{}", path.display())), service: String::new(), timeout: 1 };
        let error = health(&args, &Progress::new(true)).await.unwrap_err();
        assert!(matches!(error.downcast().unwrap(), Unhealthy::Unreachable(_)));
    }
}
