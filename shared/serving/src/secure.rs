//! How connections come in: encrypted or not, and what is said about it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;
use unipic_tls::{Secured, ServerTls};

use crate::connection::{Life, Peer, serve_connection};
use crate::listen::{ListenAddress, Listener};
use crate::seldom::Seldom;
use crate::server::ServerConfig;

/// What gRPC speaks.
pub(crate) const GRPC: [&[u8]; 1] = [b"h2"];

/// What the web face speaks.
pub(crate) const WEB: [&[u8]; 1] = [b"http/1.1"];

/// Encrypts what comes in, where that is configured. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    tls: Option<ServerTls>,
    refusals: Arc<Seldom>,
    idle: Duration,
}

impl Door {
    /// Reads the certificates and says in the log how connections come in. Protocols are names of ALPN.
    pub(crate) fn open(listener: &Listener, config: &ServerConfig, protocols: &[&[u8]]) -> Self {
        let is_private = match listener.address() {
            Ok(ListenAddress::Tcp(address)) => address.ip().is_loopback(),
            Ok(ListenAddress::Unix(_)) => true,
            Err(_) => false,
        };
        let tls = &config.tls;
        match (tls.is_on(), is_private) {
            (true, _) if tls.client_ca.is_some() => tracing::info!("TLS: clients must have a certificate"),
            (true, _) => tracing::info!("TLS: any client may connect"),
            (false, true) => tracing::info!("no TLS: only this host can connect"),
            (false, false) => tracing::warn!(
                "no TLS on an address that other hosts reach: calls and keys can be read on the way; set `tls.certificate` \
                 and `tls.key`, and `tls.client_ca` where only known clients may call"
            ),
        }
        let tls = tls.is_on().then(|| ServerTls::new(tls, protocols));
        Self { tls, refusals: Arc::default(), idle: config.connections.idle() }
    }

    /// Looks at the certificates for as long as it is polled.
    pub(crate) async fn follow_files(&self) -> Infallible {
        match &self.tls {
            Some(tls) => tls.follow_files().await,
            None => std::future::pending().await,
        }
    }

    /// Makes the handshake of what was accepted, where one is wanted. `None` where it failed, or the server stops.
    pub(crate) async fn enter<IO>(&self, io: IO, drain: &CancellationToken) -> Option<Entered<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(tls) = &self.tls else { return Some(Entered::Plain(io)) };
        let accepted = tokio::select! {
            accepted = tls.accept(io) => accepted,
            () = drain.cancelled() => return None,
        };
        accepted
            .map(|secured| Entered::Encrypted(Box::new(secured)))
            .inspect_err(|error| {
                if let Some(further) = self.refusals.due() {
                    tracing::info!(%error, further, "a connection was refused");
                }
            })
            .ok()
    }
}

/// What came through the door.
pub(crate) enum Entered<IO> {
    Plain(IO),
    /// Boxed: a session of TLS is a thousand bytes, and plain connections need none of them.
    Encrypted(Box<Secured<IO>>),
}

/// Serves what was accepted, after its handshake where one is wanted.
pub(crate) async fn serve_peer<IO, S, R>(
    door: Door,
    io: IO,
    address: Option<SocketAddr>,
    service: S,
    drain: CancellationToken,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<http::Request<Body>, Response = http::Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let life = Life { idle: door.idle, drain: drain.clone() };
    match door.enter(io, &drain).await {
        Some(Entered::Plain(io)) => serve_connection(io, Peer { address, identity: None }, service, life).await,
        Some(Entered::Encrypted(secured)) => {
            let Secured { stream, peer } = *secured;
            serve_connection(stream, Peer { address, identity: peer }, service, life).await;
        }
        None => {}
    }
}
