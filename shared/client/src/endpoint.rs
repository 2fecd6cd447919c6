//! Where a server is.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Channel;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Pings go out this often, and a server that leaves one unanswered for as long again is gone. Without them a network
/// partition hangs a call for ever.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Flow-control windows, in bytes, as the servers have them.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where a server is: `http://host:port`, `unix:/path` for a socket on this host, or `dns:///host:port` for all replicas
/// that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// HTTP/2 over TCP, without TLS.
    Http(Uri),
    /// Every address of a name, looked up again every few seconds; the URI is the one that [`Endpoint::Http`] would have.
    Dns(Uri),
    /// One address of a name.
    Resolved {
        /// Where it is.
        address: SocketAddr,
        /// What it is called, which is what it finds in the requests.
        origin: Uri,
    },
    /// HTTP/2 over a Unix socket.
    Unix(PathBuf),
}

/// A text that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form http://host:port, dns:///host:port or unix:/path")]
pub struct InvalidEndpoint(String);

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return path.is_absolute().then_some(Self::Unix(path)).ok_or_else(invalid);
        }
        // A scheme of gRPC's own, and one that reads as what it means.
        let name = text.strip_prefix("dns:///").or_else(|| text.strip_prefix("http+dns://"));
        let url = name.map_or_else(|| text.to_owned(), |name| format!("http://{name}"));
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let is_bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        let is_right = uri.scheme_str() == Some("http") && uri.port_u16().is_some() && is_bare;
        let endpoint = if name.is_some() { Self::Dns(uri) } else { Self::Http(uri) };
        is_right.then_some(endpoint).ok_or_else(invalid)
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
            Self::Http(uri) => f.write_str(uri.to_string().trim_end_matches('/')),
            Self::Dns(uri) => write!(f, "dns:///{}", uri.authority().map_or("", |authority| authority.as_str())),
            Self::Resolved { address, .. } => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// A channel that connects at the first call and again whenever the connection is lost.
    pub(crate) fn channel(&self) -> Channel {
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
            // A name called as it stands is its first address: [`crate::Replicas`] looks it up instead.
            Self::Http(uri) | Self::Dns(uri) => configure(tonic::transport::Endpoint::from(uri.clone())).connect_lazy(),
            Self::Resolved { address, origin } => {
                let uri = Uri::builder().scheme("http").authority(address.to_string()).path_and_query("/").build();
                // An address is an authority; the name itself is the fallback that cannot be needed.
                let uri = uri.unwrap_or_else(|_| origin.clone());
                configure(tonic::transport::Endpoint::from(uri).origin(origin.clone())).connect_lazy()
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
        for text in [
            "http://127.0.0.1:50051",
            "http://[::1]:1",
            "http://decoder.svc:50051",
            "unix:/run/u.sock",
            "dns:///d.svc:1",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("http://a:1/".parse::<Endpoint>(), "http://a:1".parse());
        assert_eq!("http+dns://d.svc:1".parse::<Endpoint>(), "dns:///d.svc:1".parse());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "a:1",
            "http://a",
            "https://a:1",
            "http://a:1/path",
            "unix:relative",
            "unix:",
            "http://:x",
            "dns:///a",
            "dns://a:1",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
