//! What a server needs and has not got yet: its port answers while the weights are loaded.
//!
//! A process binds its ports as soon as nothing that is known without reading values is wrong, and loads behind them. So
//! whoever watches it hears that it lives and is not ready, where a closed port would tell neither.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::future::Either;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::util::Oneshot;
use tower::{Service, ServiceExt};

use crate::server::loading;

/// A generated server that comes once it is made. Clones share it.
#[derive(Debug)]
pub struct Later<S>(Arc<OnceLock<S>>);

impl<S> Later<S> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(OnceLock::new()))
    }

    /// Calls go to `service` from now on. What came first stays.
    pub fn comes(&self, service: S) {
        let _ = self.0.set(service);
    }
}

impl<S> Clone for Later<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: NamedService> NamedService for Later<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Later<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<Oneshot<S, http::Request<Body>>, Ready<Result<http::Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // That of the service behind is waited for within the call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match self.0.get() {
            Some(service) => Either::Left(service.clone().oneshot(request)),
            None => Either::Right(ready(Ok(Status::from(loading()).into_http()))),
        }
    }
}

/// Runs what blocks for long, such as reading weights, on a thread of its own within this runtime.
///
/// Not among the runtime's blocking tasks: those are waited for when it ends, and a process that is told to stop while it
/// loads should end at once. The thread ends with the process then.
///
/// # Errors
/// What `load` says, or that the thread cannot be started or panicked.
pub async fn beside<T, E>(load: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    let work = move || {
        let _within = runtime.enter();
        // Nobody listens where the process stops.
        let _ = tell.send(load());
    };
    std::thread::Builder::new().name("load".into()).spawn(work)?;
    told.await.unwrap_or_else(|_| Err(io::Error::other("loading panicked").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_while_loading_is_an_error() {
        assert_eq!(beside(|| Ok::<_, io::Error>(7)).await.unwrap(), 7);
        let panicked = beside(|| -> io::Result<()> { panic!("as intended") }).await;
        assert!(panicked.unwrap_err().to_string().contains("panicked"));
    }

    #[test]
    fn a_runtime_does_not_wait_for_what_is_loaded_beside_it() {
        let (_hold, held) = std::sync::mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (begun, begins) = oneshot::channel();
        runtime.spawn(beside(move || {
            let _ = begun.send(());
            held.recv().map_err(io::Error::other)
        }));
        runtime.block_on(begins).unwrap();
        let start = std::time::Instant::now();
        drop(runtime);
        assert!(start.elapsed() < std::time::Duration::from_secs(5));
    }
}
