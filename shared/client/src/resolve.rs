//! The replicas behind the endpoints of a configuration: fixed ones, and those that a DNS name stands for now.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::sync::{Notify, watch};

use crate::endpoint::{Endpoint, Reach};
use crate::replica::Replica;

/// How often names are looked up. Short, for rollouts; the records of such names live for seconds.
const EVERY: Duration = Duration::from_secs(5);

/// All replicas at a moment.
pub(crate) type Set = Arc<[Arc<Replica>]>;

/// Endpoints, and the replicas they stand for.
pub(crate) struct Members {
    fixed: Vec<Arc<Replica>>,
    names: Vec<Name>,
    reach: Reach,
}

/// A DNS name.
struct Name {
    uri: Uri,
    replicas: BTreeMap<SocketAddr, Arc<Replica>>,
}

impl Members {
    pub(crate) fn new(endpoints: &[Endpoint], reach: Reach) -> Self {
        let (mut fixed, mut names) = (Vec::new(), Vec::new());
        for endpoint in endpoints {
            match endpoint {
                Endpoint::Dns(uri) => names.push(Name { uri: uri.clone(), replicas: BTreeMap::new() }),
                address => fixed.push(Arc::new(Replica::new(address, &reach))),
            }
        }
        Self { fixed, names, reach }
    }

    /// Whether there is anything to look up.
    pub(crate) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    pub(crate) fn set(&self) -> Set {
        let named = self.names.iter().flat_map(|name| name.replicas.values());
        self.fixed.iter().chain(named).cloned().collect()
    }

    /// Looks all names up once. True when a replica came or went.
    pub(crate) async fn refresh(&mut self) -> bool {
        let mut has_changed = false;
        for name in &mut self.names {
            has_changed |= name.refresh(&self.reach).await;
        }
        has_changed
    }

    /// Looks the names up again and again, tells the set when it changes, and wakes those that wait for one.
    pub(crate) async fn follow(mut self, told: watch::Sender<Set>, known: Arc<Notify>) {
        loop {
            if self.refresh().await {
                told.send_replace(self.set());
                known.notify_waiters();
            }
            tokio::time::sleep(EVERY.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
        }
    }
}

impl Name {
    async fn refresh(&mut self, reach: &Reach) -> bool {
        let (host, port) = (self.uri.host().unwrap_or_default(), self.uri.port_u16().unwrap_or_default());
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = match reach.network.lookup(host.to_owned(), port).await {
            // A resolver that fails, or for a moment knows nothing, must not take away replicas that work.
            Ok(found) if !found.is_empty() => found,
            Ok(_) => return false,
            Err(error) => {
                tracing::warn!(%error, "a replica's name cannot be looked up; those known are kept");
                return false;
            }
        };
        let before: Vec<SocketAddr> = self.replicas.keys().copied().collect();
        // One that leaves ends with the last call under way at it.
        self.replicas.retain(|address, _| found.contains(address));
        for address in found {
            let endpoint = || Endpoint::Resolved { address, origin: self.uri.clone() };
            self.replicas.entry(address).or_insert_with(|| Arc::new(Replica::new(&endpoint(), reach)));
        }
        let has_changed = !self.replicas.keys().eq(before.iter());
        if has_changed {
            tracing::info!(replicas = self.replicas.len(), "the replicas behind a name have changed");
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use futures::future::BoxFuture;
    use unipic_tls::ClientTls;

    use super::*;
    use crate::network::{ByteStream, Network, SystemNetwork};

    /// Answers of a resolver.
    #[derive(Debug)]
    struct Scripted(Mutex<std::vec::IntoIter<io::Result<Vec<u16>>>>);

    impl Network for Scripted {
        fn connect(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
            SystemNetwork.connect(host, port)
        }

        fn lookup(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            assert_eq!((host.as_str(), port), ("decoder.svc", 50054));
            let answer = self.0.lock().unwrap().next().unwrap();
            let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
            Box::pin(std::future::ready(answer.map(|ports| ports.into_iter().map(address).collect())))
        }
    }

    /// A resolver that answers what it is told to.
    fn scripted(answers: Vec<io::Result<Vec<u16>>>) -> Reach {
        Reach { network: Arc::new(Scripted(Mutex::new(answers.into_iter()))), tls: ClientTls::default() }
    }

    #[tokio::test]
    async fn replicas_join_and_leave_and_those_that_stay_are_the_same() {
        let down = || io::Error::other("no resolver");
        let reach = scripted(vec![Ok(vec![1, 2]), Ok(vec![2, 1]), Err(down()), Ok(vec![]), Ok(vec![2, 3])]);
        let endpoints = ["dns:///decoder.svc:50054".parse().unwrap(), "http://127.0.0.1:9".parse().unwrap()];
        let mut members = Members::new(&endpoints, reach);
        assert!(members.has_names());
        assert_eq!(members.set().len(), 1, "the fixed one is there from the start");
        assert!(members.refresh().await);
        let first = members.set();
        assert_eq!(first.len(), 3);
        for what in ["another order", "a failure", "an empty answer"] {
            assert!(!members.refresh().await, "{what} changes nothing");
        }
        assert!(members.refresh().await);
        let last = members.set();
        assert_eq!(last.len(), 3);
        let kept = |replica: &Arc<Replica>| last.iter().any(|other| Arc::ptr_eq(replica, other));
        assert_eq!(first.iter().filter(|replica| kept(replica)).count(), 2, "the fixed one and port 2");
    }
}
