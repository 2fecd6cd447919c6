//! The client of OTLP over HTTP: hyper's, which gRPC's is made of too, so that there is no second one in the program.
//!
//! The SDK exports on threads of its own, where there is no runtime. So what is sent is sent on the process's runtime, and
//! the SDK's thread waits.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::setup::EXPORT_TIMEOUT;

/// Bytes of an answer that are read; a collector says little.
const ANSWER_BYTES: usize = 64 << 10;

/// Sends requests of the SDK.
#[derive(Debug, Clone)]
pub(super) struct Post {
    runtime: Handle,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Post {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = self.client.request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

#[tonic::async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.clone().send(request);
        self.runtime.spawn(async { timeout(EXPORT_TIMEOUT, sent).await }).await??
    }
}
