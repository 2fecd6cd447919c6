//! Several replicas behind one service: a call goes to the least loaded of those that are well.
//!
//! Well is a replica whose health service says so, or has not said anything yet, and which did not break the last call.
//! Those that are not are passed over at once; where none is well, one that may be is tried, so that a lone replica that
//! comes back is found; and where none may be, the call fails without having waited for anything.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};
use unipic_api::{ApiError, Reason};
use unipic_telemetry::Metrics;
use unipic_telemetry::metrics::KeyValue;
use unipic_tls::ClientTls;

use crate::connection::NoEndpoints;
use crate::endpoint::{Endpoint, Reach};
use crate::network::{Network, SystemNetwork};
use crate::replica::{InFlight, Replica, State};
use crate::resolve::{Members, Set};
use crate::transport::ReplicaBody;

/// How long a first call waits for names to be looked up.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// The longest a caller is told to stay away: health may be back before the breaker would try again.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The replicas of a service. Clones share what is known of them.
#[derive(Debug, Clone)]
pub struct Replicas {
    set: watch::Receiver<Set>,
    /// Wakes calls in the order in which they came, once names were looked up; the set's own channel would wake them in any.
    known: Arc<Notify>,
    next: Arc<AtomicUsize>,
    /// Looks names up, where there are any.
    _names: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Replicas {
    /// Replicas at `endpoints`, those behind `https` by `tls`. Their health is watched from now on, over the same connections
    /// that calls take. Call it inside a tokio runtime.
    ///
    /// Errors: no endpoints.
    pub fn new(endpoints: &[Endpoint], tls: &ClientTls) -> Result<Self, NoEndpoints> {
        Self::over(Arc::new(SystemNetwork), endpoints, tls)
    }

    /// [`Replicas::new`], over a network that need not be the operating system's.
    ///
    /// Errors: no endpoints.
    pub fn over(network: Arc<dyn Network>, endpoints: &[Endpoint], tls: &ClientTls) -> Result<Self, NoEndpoints> {
        if endpoints.is_empty() {
            return Err(NoEndpoints);
        }
        let members = Members::new(endpoints, Reach { network, tls: tls.clone() });
        let (sender, set) = watch::channel(members.set());
        let known = Arc::<Notify>::default();
        let following = members.has_names().then(|| tokio::spawn(members.follow(sender, Arc::clone(&known))));
        let names = following.map(|task| Arc::new(AbortOnDropHandle::new(task)));
        Ok(Self { set, known, next: Arc::new(AtomicUsize::new(0)), _names: names })
    }

    /// Tells how many replicas are in which state, and how many calls are under way at those, whenever metrics are read.
    /// `backend` is what they are replicas of.
    pub fn tell(&self, backend: &'static str, metrics: &Metrics) {
        let by_state = |of: fn(&Replica) -> u64| {
            let set = self.set.clone();
            move || {
                let (set, now) = (set.borrow().clone(), Instant::now());
                let sum = |state: State| set.iter().filter(|replica| replica.state(now) == state).map(|r| of(r)).sum();
                let labels = |state: State| [KeyValue::new("backend", backend), KeyValue::new("state", state.name())];
                State::ALL.map(|state| (sum(state), labels(state))).to_vec()
            }
        };
        let replicas = "Replicas that calls may go to, by what is known of them.";
        metrics.looked_up("unipic.replicas", replicas, by_state(|_| 1));
        let calls = "Calls under way at replicas, by what is known of those.";
        metrics.looked_up("unipic.replica_calls", calls, by_state(|replica| replica.load() as u64));
    }

    /// Begins a call: at the least loaded that is well, in turn among equals; else at one that may be.
    fn pick(&self) -> Result<InFlight, ApiError> {
        let (set, now) = (self.set.borrow().clone(), Instant::now());
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = || (0..set.len()).filter_map(|i| set.get(first.wrapping_add(i) % set.len()));
        // Another call may begin a probe between the look and the call: then there is one candidate less.
        for _ in 0..=set.len() {
            let well = in_turn().filter(|replica| replica.is_well(now)).min_by_key(|replica| replica.load());
            let possible = || in_turn().filter(|replica| replica.is_possible(now)).min_by_key(|replica| replica.load());
            let Some(picked) = well.or_else(possible) else { break };
            if let Some(in_flight) = InFlight::begin(picked, now) {
                return Ok(in_flight);
            }
        }
        let wait = set.iter().map(|replica| replica.wait(now)).min().unwrap_or(LONGEST_WAIT);
        let retry_after = Some(wait.min(LONGEST_WAIT));
        // Where handshakes fail, that is what to know, also while nothing is tried.
        let reason = set.iter().find_map(|replica| replica.refusal()).unwrap_or(Reason::BackendUnavailable);
        Err(ApiError::Unavailable { reason, retry_after })
    }

    /// Begins a call, once names were looked up.
    async fn begin(&self) -> Result<InFlight, ApiError> {
        // Taken before the look, so that what becomes known in between is not missed.
        let known = self.known.notified();
        if self.set.borrow().is_empty() {
            // A name that stays unknown leaves nobody to call, which is what the pick says then.
            let _ = tokio::time::timeout(LOOKUP_LIMIT, known).await;
        }
        self.pick()
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
        let replicas = self.clone();
        Box::pin(async move {
            let in_flight = replicas.begin().await?;
            match in_flight.channel().oneshot(request).await {
                Ok(response) => {
                    let status = Status::from_header_map(response.headers());
                    if status.as_ref().is_some_and(is_refusal) {
                        in_flight.refused();
                    } else {
                        in_flight.worked();
                    }
                    Ok(response.map(|body| ReplicaBody::new(body, status.is_some(), in_flight)))
                }
                Err(error) => {
                    let status = in_flight.status(error);
                    if status.code() == Code::Unavailable {
                        in_flight.broke();
                    }
                    Err(status)
                }
            }
        })
    }
}

/// A replica says that it takes no calls now.
fn is_refusal(status: &Status) -> bool {
    let refuses = |reason| matches!(reason, Reason::Loading | Reason::Draining);
    matches!(ApiError::from_status(status), ApiError::Unavailable { reason, .. } if refuses(reason))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use futures::future::BoxFuture;
    use unipic_telemetry::TelemetryConfig;

    use super::*;
    use crate::network::ByteStream;
    use crate::replica::Health;

    /// A network in which each name stands for two addresses.
    #[derive(Debug)]
    struct TwoEach;

    impl Network for TwoEach {
        fn connect(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
            SystemNetwork.connect(host, port)
        }

        fn lookup(&self, _: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(vec![([127, 0, 0, 1], port).into(), ([127, 0, 0, 2], port).into()])
            })
        }
    }

    fn replicas(n: u16) -> Replicas {
        let endpoints: Vec<Endpoint> =
            (1..=n).map(|port| format!("http://127.0.0.1:{port}").parse().unwrap()).collect();
        Replicas::new(&endpoints, &ClientTls::default()).unwrap()
    }

    fn at(replicas: &Replicas, index: usize) -> Arc<Replica> {
        replicas.set.borrow()[index].clone()
    }

    /// Which replica the next call goes to; the call ends at once, without an outcome.
    fn pick(replicas: &Replicas) -> Option<usize> {
        let _picked = replicas.pick().ok()?;
        let set = replicas.set.borrow();
        set.iter().position(|replica| replica.load() > 0)
    }

    fn begin(replica: &Arc<Replica>) -> InFlight {
        InFlight::begin(replica, Instant::now()).unwrap()
    }

    #[tokio::test]
    async fn equals_take_turns() {
        let replicas = replicas(3);
        let picks: Vec<_> = (0..6).filter_map(|_| pick(&replicas)).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
    }

    #[tokio::test]
    async fn the_least_loaded_is_picked() {
        let replicas = replicas(2);
        let held: Vec<_> = (0..3).map(|_| begin(&at(&replicas, 0))).collect();
        for _ in 0..4 {
            let picked = replicas.pick().unwrap();
            assert_eq!((at(&replicas, 0).load(), at(&replicas, 1).load()), (3, 1));
            drop(picked);
        }
        drop(held);
        assert_eq!(at(&replicas, 0).load(), 0);
    }

    #[tokio::test]
    async fn a_broken_one_is_passed_over_and_where_all_are_the_call_fails_at_once() {
        let replicas = replicas(2);
        begin(&at(&replicas, 0)).broke();
        assert!((0..4).all(|_| pick(&replicas) == Some(1)));
        begin(&at(&replicas, 1)).broke();
        let error = replicas.pick().unwrap_err();
        let ApiError::Unavailable { retry_after: Some(wait), .. } = error else { panic!("{error:?}") };
        assert!(wait > Duration::ZERO && wait <= LONGEST_WAIT);
        // One call finds out whether it is back; meanwhile there is no other.
        tokio::time::sleep(wait).await;
        let probe = replicas.pick().unwrap();
        probe.worked();
        assert!(replicas.pick().is_ok());
    }

    #[tokio::test]
    async fn health_decides_while_a_healthy_one_is_left() {
        let replicas = replicas(2);
        for health in [Health::NotServing, Health::Unreachable] {
            at(&replicas, 0).condition().says(health);
            assert!((0..4).all(|_| pick(&replicas) == Some(1)), "{health:?}");
        }
        // What may be wrong is better than nothing.
        at(&replicas, 1).condition().says(Health::Unreachable);
        assert!(replicas.pick().is_ok());
        begin(&at(&replicas, 0)).broke();
        at(&replicas, 0).condition().says(Health::Serving);
        assert!((0..4).all(|_| pick(&replicas) == Some(0)), "its own word closes the breaker");
    }

    #[tokio::test]
    async fn one_that_says_it_stops_is_passed_over_before_its_health_is_heard() {
        let replicas = replicas(2);
        begin(&at(&replicas, 1)).refused();
        assert!((0..4).all(|_| pick(&replicas) == Some(0)));
    }

    #[tokio::test]
    async fn a_name_is_looked_up_before_the_first_call() {
        let endpoints = ["dns:///decoder.svc:1".parse().unwrap()];
        let replicas = Replicas::over(Arc::new(TwoEach), &endpoints, &ClientTls::default()).unwrap();
        assert!(replicas.begin().await.is_ok());
        assert_eq!(replicas.set.borrow().len(), 2);
    }

    #[tokio::test]
    async fn calls_are_told_by_the_state_of_the_replicas_that_they_are_at() {
        let replicas = replicas(3);
        let metrics = Metrics::new(&TelemetryConfig::for_service("test")).unwrap();
        replicas.tell("decoder", &metrics);
        let _held: Vec<_> = [0, 0, 1].map(|index| begin(&at(&replicas, index))).into();
        at(&replicas, 1).condition().says(Health::NotServing);
        begin(&at(&replicas, 2)).broke();
        let told = metrics.render();
        for (state, n, calls) in [("well", 1, 2), ("unwell", 1, 1), ("open", 1, 0)] {
            for (name, value) in [("unipic_replicas", n), ("unipic_replica_calls", calls)] {
                let line = format!("{name}{{backend=\"decoder\",state=\"{state}\"}} {value}");
                assert!(told.lines().any(|found| found == line), "no {line} in {told}");
            }
        }
    }

    #[test]
    fn an_empty_list_is_refused() {
        assert!(Replicas::new(&[], &ClientTls::default()).is_err());
    }
}
