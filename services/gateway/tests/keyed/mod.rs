//! A gateway that asks for keys, behind a real port.

#![allow(dead_code, clippy::expect_used, clippy::panic)]

use std::time::SystemTime;

use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::transport::Channel;
use tower::ServiceExt;
use unipic_client::{Endpoint, UniPicClient};
use unipic_gateway::auth::{AuthConfig, KeyConfig, NewKey};
use unipic_gateway::{Config, Gateway};

use crate::support::Fake;

/// The gateway's address; it ends when dropped.
pub(crate) struct Keyed {
    pub(crate) endpoint: Endpoint,
    _server: AbortOnDropHandle<()>,
}

pub(crate) fn new_key() -> NewKey {
    NewKey::random().expect("random bytes")
}

/// A key's entry; its time ends so many seconds from now, or ended before.
pub(crate) fn entry(tenant: &str, key: &NewKey, ends_in_seconds: Option<i64>) -> KeyConfig {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    let end =
        |seconds: i64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now.saturating_add_signed(seconds));
    let not_after = ends_in_seconds.map(|seconds| humantime::format_rfc3339_seconds(end(seconds)).to_string());
    KeyConfig { tenant: tenant.to_owned(), sha256: key.sha256.clone(), not_after }
}

/// Starts a gateway with these keys.
pub(crate) async fn start(keys: Vec<KeyConfig>, open_reflection: bool) -> Keyed {
    let config = Config { auth: AuthConfig { keys, open_reflection }, ..Config::default() };
    let listen: unipic_serving::ListenAddress = "127.0.0.1:0".parse().expect("an address");
    let listener = listen.bind().await.expect("binds");
    let endpoint = format!("http://{}", listener.address().expect("bound")).parse().expect("an endpoint");
    let server = config.server();
    let serving = async move {
        Gateway::new(Fake::default(), config)
            .serve(listener, None, unipic_serving::Ops::default(), &server, std::future::pending())
            .await;
    };
    Keyed { endpoint, _server: AbortOnDropHandle::new(tokio::spawn(serving)) }
}

impl Keyed {
    pub(crate) fn client(&self) -> UniPicClient {
        UniPicClient::new(std::slice::from_ref(&self.endpoint)).expect("an endpoint")
    }

    /// A bare connection, for calls that no client would make.
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = tonic::transport::Endpoint::from_shared(self.endpoint.to_string()).expect("an address");
        endpoint.connect().await.expect("connects")
    }
}

/// The status of a call without a message, if it has come with the headers.
pub(crate) async fn call(channel: &Channel, path: &str, headers: &[(&str, &str)]) -> Option<tonic::Status> {
    let mut request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = channel.clone().oneshot(request).await.expect("an answer");
    tonic::Status::from_header_map(response.headers())
}
