//! The simulated network as the shipped crates see one: a [`Network`] for clients, an [`Accept`] for servers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use turmoil::net::{TcpListener, TcpStream};
use unipic_client::{ByteStream, Network};
use unipic_serving::{Accept, Accepting, Listener};

use crate::mutant::Mutant;

/// The port that every server listens on; each has an address of its own.
pub(crate) const PORT: u16 = 50051;

/// Of a hundred lookups of a name, so many fail.
const FAILED_LOOKUPS: u8 = 10;

/// Names and the hosts that they stand for.
#[derive(Clone, Debug)]
pub(crate) struct Simulated {
    names: Arc<BTreeMap<String, Vec<String>>>,
    /// Hosts that are given up for good, where a mutant does that.
    lost: Option<Arc<Mutex<BTreeSet<String>>>>,
}

impl Simulated {
    pub(crate) fn new(names: BTreeMap<String, Vec<String>>, mutant: Option<Mutant>) -> Self {
        Self { names: Arc::new(names), lost: (mutant == Some(Mutant::NeverReconnects)).then(Arc::default) }
    }

    fn is_lost(&self, host: &str) -> bool {
        self.lost.as_ref().is_some_and(|lost| lost.lock().unwrap_or_else(PoisonError::into_inner).contains(host))
    }

    fn lose(&self, host: String) {
        if let Some(lost) = &self.lost {
            lost.lock().unwrap_or_else(PoisonError::into_inner).insert(host);
        }
    }
}

impl Network for Simulated {
    fn connect(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        let network = self.clone();
        Box::pin(async move {
            if network.is_lost(&host) {
                return Err(io::Error::other("given up"));
            }
            let connected = TcpStream::connect((host.as_str(), port)).await;
            if connected.is_err() {
                network.lose(host);
            }
            Ok(Box::new(connected?) as Box<dyn ByteStream>)
        })
    }

    fn lookup(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let hosts = self.names.get(&host).cloned().unwrap_or_default();
        Box::pin(async move {
            if fastrand::u8(..100) < FAILED_LOOKUPS {
                return Err(io::Error::other("the resolver is not there"));
            }
            Ok(hosts.into_iter().map(|host| SocketAddr::new(turmoil::lookup(host), port)).collect())
        })
    }
}

/// A port of a simulated host.
struct Port(TcpListener);

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Port").field(&PORT).finish()
    }
}

impl Accept for Port {
    fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn accept(&self) -> Accepting<'_> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await?;
            Ok((Box::new(stream) as Box<dyn unipic_serving::ByteStream>, peer))
        })
    }
}

/// Listens on the current host.
pub(crate) async fn listen() -> io::Result<Listener> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    Ok(Listener::Other(Box::new(Port(listener))))
}
