//! Several replicas behind one service: a call goes to the least loaded of those that lately worked.
//!
//! The list is static. A replica that broke a call is passed over for a while unless every one did, so a retry lands
//! elsewhere; [`Replica::is_passed_over`] is where health checks can have their say.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Service, ServiceExt};
use unipic_api::ApiError;
use unipic_tls::ClientTls;

use crate::connection::NoEndpoints;
use crate::endpoint::Endpoint;
use crate::secure::LastRefusal;
use crate::transport::{ReplicaBody, status_of};

/// How long a replica is passed over after it broke a call.
const PENALTY: Duration = Duration::from_secs(1);

/// The replicas of a service. Clones share the counts of calls under way.
#[derive(Debug, Clone)]
pub struct Replicas {
    all: Arc<[Arc<Replica>]>,
    next: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Replica {
    channel: Channel,
    refusal: Arc<LastRefusal>,
    load: AtomicUsize,
    started: Instant,
    /// Milliseconds from `started` until which the replica is passed over.
    passed_over_until: AtomicU64,
}

impl Replica {
    fn new(endpoint: &Endpoint, tls: &ClientTls) -> Self {
        let refusal = Arc::default();
        Self {
            channel: endpoint.channel(tls, &refusal),
            refusal,
            load: AtomicUsize::new(0),
            started: Instant::now(),
            passed_over_until: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_passed_over(&self) -> bool {
        self.now() < self.passed_over_until.load(Ordering::Relaxed)
    }
}

/// A call under way at a replica; over when dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Replica>);

impl InFlight {
    fn at(replica: &Arc<Replica>) -> Self {
        replica.load.fetch_add(1, Ordering::Relaxed);
        Self(replica.clone())
    }

    /// The status of a call that came to nothing: why the handshake failed where it did, else what broke.
    fn status(&self, error: tonic::transport::Error) -> Status {
        match self.0.refusal.reason() {
            Some(reason) => ApiError::unavailable(reason).into(),
            None => status_of(error.into()),
        }
    }

    /// The replica broke the call.
    pub(crate) fn failed(&self) {
        let until = self.0.now() + u64::try_from(PENALTY.as_millis()).unwrap_or(u64::MAX);
        self.0.passed_over_until.store(until, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Replicas {
    /// Replicas at `endpoints`, connected to at the first call, those at `https://` by `tls`. Call it inside a tokio runtime.
    ///
    /// Errors: no endpoints.
    pub fn new(endpoints: &[Endpoint], tls: &ClientTls) -> Result<Self, NoEndpoints> {
        if endpoints.is_empty() {
            return Err(NoEndpoints);
        }
        let all = endpoints.iter().map(|endpoint| Arc::new(Replica::new(endpoint, tls))).collect();
        Ok(Self { all, next: Arc::new(AtomicUsize::new(0)) })
    }

    /// The replica for the next call: the least loaded, in turn among equals, passing over what lately broke.
    fn pick(&self) -> Option<&Arc<Replica>> {
        let n = self.all.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..n).filter_map(|i| self.all.get((first.wrapping_add(i)) % n));
        in_turn.min_by_key(|replica| (replica.is_passed_over(), replica.load.load(Ordering::Relaxed)))
    }
}

impl Service<Request<Body>> for Replicas {
    type Response = Response<ReplicaBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ReplicaBody>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Readiness belongs to the channel that is picked, so it is waited for in the call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let picked = self.pick().map(|replica| (replica.channel.clone(), InFlight::at(replica)));
        Box::pin(async move {
            // `new` refuses an empty list.
            let Some((channel, in_flight)) = picked else { return Err(crate::transport::gone()) };
            match channel.oneshot(request).await {
                Ok(response) => {
                    let has_status = response.headers().contains_key("grpc-status");
                    Ok(response.map(|body| ReplicaBody::new(body, has_status, in_flight)))
                }
                Err(error) => {
                    let status = in_flight.status(error);
                    if status.code() == tonic::Code::Unavailable {
                        in_flight.failed();
                    }
                    Err(status)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(n: u16) -> Replicas {
        let endpoints: Vec<Endpoint> =
            (1..=n).map(|port| format!("http://127.0.0.1:{port}").parse().unwrap()).collect();
        Replicas::new(&endpoints, &ClientTls::default()).unwrap()
    }

    fn index(replicas: &Replicas, picked: &Arc<Replica>) -> usize {
        replicas.all.iter().position(|replica| Arc::ptr_eq(replica, picked)).unwrap()
    }

    #[tokio::test]
    async fn equals_take_turns() {
        let replicas = replicas(3);
        let picks: Vec<_> = (0..6).map(|_| index(&replicas, replicas.pick().unwrap())).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
    }

    #[tokio::test]
    async fn the_least_loaded_is_picked() {
        let replicas = replicas(2);
        let held: Vec<_> = (0..3).map(|_| InFlight::at(&replicas.all[0])).collect();
        for _ in 0..4 {
            assert_eq!(index(&replicas, replicas.pick().unwrap()), 1);
        }
        drop(held);
        assert_eq!(replicas.all[0].load.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_broken_one_is_passed_over_while_another_works() {
        let replicas = replicas(2);
        let load: Vec<_> = (0..3).map(|_| InFlight::at(&replicas.all[1])).collect();
        InFlight::at(&replicas.all[0]).failed();
        assert_eq!(index(&replicas, replicas.pick().unwrap()), 1);
        load[0].failed();
        assert_eq!(index(&replicas, replicas.pick().unwrap()), 0);
    }

    #[test]
    fn an_empty_list_is_refused() {
        assert!(Replicas::new(&[], &ClientTls::default()).is_err());
    }
}
