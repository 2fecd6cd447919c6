//! Where a server is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Channel;
use unipic_tls::ClientTls;

use crate::secure::{self, LastRefusal};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Pings go out this often, and a server that leaves one unanswered for as long again is gone. Without them a network
/// partition hangs a call for ever.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Flow-control windows, in bytes, as the servers have them.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where a server is: `https://host:port`, `http://host:port`, or `unix:/path` for a socket on this host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// HTTP/2 over TCP, without TLS.
    Http(Uri),
    /// HTTP/2 over TLS.
    Https(Uri),
    /// HTTP/2 over a Unix socket.
    Unix(PathBuf),
}

/// A text that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form https://host:port, http://host:port or unix:/path")]
pub struct InvalidEndpoint(String);

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return path.is_absolute().then_some(Self::Unix(path)).ok_or_else(invalid);
        }
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let is_bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        match uri.scheme_str() {
            _ if uri.port_u16().is_none() || !is_bare => Err(invalid()),
            Some("http") => Ok(Self::Http(uri)),
            Some("https") => Ok(Self::Https(uri)),
            _ => Err(invalid()),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = InvalidEndpoint;

    fn try_from(text: String) -> Result<Self, InvalidEndpoint> {
        text.parse()
    }
}

impl<'de> serde::Deserialize<'de> for Endpoint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(uri) | Self::Https(uri) => f.write_str(uri.to_string().trim_end_matches('/')),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// True when what is sent there can be read on the way: over TCP to another host without TLS.
    pub fn is_exposed(&self) -> bool {
        let Self::Http(uri) = self else { return false };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = host.parse::<IpAddr>().map_or(host == "localhost", |address| address.is_loopback());
        !is_loopback
    }

    /// A channel that connects at the first call and again whenever the connection is lost. Why a handshake failed is noted
    /// in `refusal`: the channel's errors do not tell.
    pub(crate) fn channel(&self, tls: &ClientTls, refusal: &Arc<LastRefusal>) -> Channel {
        let configure = |endpoint: tonic::transport::Endpoint| {
            endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
        };
        match self {
            Self::Http(uri) => configure(tonic::transport::Endpoint::from(uri.clone())).connect_lazy(),
            Self::Https(uri) => {
                let (tls, refusal) = (tls.clone(), Arc::clone(refusal));
                configure(tonic::transport::Endpoint::from(uri.clone())).connect_with_connector_lazy(tower::service_fn(
                    move |uri: Uri| {
                        let (tls, refusal) = (tls.clone(), Arc::clone(&refusal));
                        async move { secure::connect(&uri, &tls, refusal).await.map(TokioIo::new) }
                    },
                ))
            }
            Self::Unix(path) => {
                let path = path.clone();
                // HTTP wants an authority; nobody looks it up.
                configure(tonic::transport::Endpoint::from_static("http://localhost")).connect_with_connector_lazy(
                    tower::service_fn(move |_: Uri| {
                        let path = path.clone();
                        async move { UnixStream::connect(path).await.map(TokioIo::new) }
                    }),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written_the_same() {
        let texts = ["http://127.0.0.1:50051", "http://[::1]:1", "https://decoder.svc:50051", "unix:/run/u.sock"];
        for text in texts {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("http://a:1/".parse::<Endpoint>(), "http://a:1".parse());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "a:1", "http://a", "https://a", "ftp://a:1", "http://a:1/path", "unix:relative", "unix:", "http://:x"]
        {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn only_plain_tcp_to_other_hosts_is_exposed() {
        let is_exposed = |text: &str| text.parse::<Endpoint>().unwrap().is_exposed();
        for text in ["http://localhost:1", "http://127.0.0.9:1", "http://[::1]:1", "https://10.0.0.1:1", "unix:/u.sock"]
        {
            assert!(!is_exposed(text), "{text}");
        }
        for text in ["http://10.0.0.1:1", "http://decoder.svc:1", "http://[fe80::1]:1", "http://localhost.evil:1"] {
            assert!(is_exposed(text), "{text}");
        }
    }
}
