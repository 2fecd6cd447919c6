//! Where a server is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Channel;
use unipic_tls::ClientTls;

use crate::network::Network;
use crate::secure::{self, LastRefusal};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Pings go out this often, and a server that leaves one unanswered for as long again is gone. Without them a network
/// partition hangs a call for ever.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Flow-control windows, in bytes, as the servers have them.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What connections are made with. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) network: Arc<dyn Network>,
    /// For `https` endpoints.
    pub(crate) tls: ClientTls,
}

/// Where a server is: `https://host:port`, `http://host:port`, or `unix:/path` for a socket on this host; or
/// `https+dns://host:port`, `http+dns://host:port` or, which is the same as the latter, `dns:///host:port` for all replicas
/// that a name stands for. A server behind `https` must have a certificate for the name that is written here, not for the
/// address that the name stands for, unless [`ClientTls::expecting`] says who it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// HTTP/2 over TCP, without TLS.
    Http(Uri),
    /// HTTP/2 over TLS.
    Https(Uri),
    /// Every address of a name, looked up again every few seconds; the URI is the one that [`Endpoint::Http`] or
    /// [`Endpoint::Https`] would have.
    Dns(Uri),
    /// One address of a name.
    Resolved {
        /// Where it is.
        address: SocketAddr,
        /// What it is called, which is what it finds in the requests, and whether it speaks TLS.
        origin: Uri,
    },
    /// HTTP/2 over a Unix socket.
    Unix(PathBuf),
}

/// A text that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not of the form https://host:port, http://host:port, https+dns://host:port, dns:///host:port or unix:/path"
)]
pub struct InvalidEndpoint(String);

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return path.is_absolute().then_some(Self::Unix(path)).ok_or_else(invalid);
        }
        // A scheme of gRPC's own, and two that read as what they mean.
        let name = |scheme: &str| text.strip_prefix(scheme);
        let plain = name("dns:///").or_else(|| name("http+dns://")).map(|name| format!("http://{name}"));
        let named = plain.or_else(|| name("https+dns://").map(|name| format!("https://{name}")));
        let is_name = named.is_some();
        let uri: Uri = named.as_deref().unwrap_or(text).parse().map_err(|_| invalid())?;
        let is_bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        match (uri.scheme_str(), is_name) {
            _ if uri.port_u16().is_none() || !is_bare => Err(invalid()),
            (Some("http" | "https"), true) => Ok(Self::Dns(uri)),
            (Some("http"), false) => Ok(Self::Http(uri)),
            (Some("https"), false) => Ok(Self::Https(uri)),
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
            Self::Dns(uri) => {
                let form = if is_https(uri) { "https+dns://" } else { "dns:///" };
                write!(f, "{form}{}", uri.authority().map_or("", |authority| authority.as_str()))
            }
            Self::Resolved { address, origin } => write!(f, "{}://{address}", origin.scheme_str().unwrap_or("http")),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// True for an endpoint that is spoken to over TLS.
    pub fn is_encrypted(&self) -> bool {
        match self {
            Self::Http(uri) | Self::Https(uri) | Self::Dns(uri) | Self::Resolved { origin: uri, .. } => is_https(uri),
            Self::Unix(_) => false,
        }
    }

    /// True for an endpoint that is spoken to over TCP without TLS, wherever it is.
    pub fn is_plain(&self) -> bool {
        !self.is_encrypted() && !matches!(self, Self::Unix(_))
    }

    /// True when what is sent there can be read on the way: over TCP to another host without TLS.
    pub fn is_exposed(&self) -> bool {
        let is_here = match self {
            Self::Http(uri) | Self::Https(uri) | Self::Dns(uri) => is_loopback(uri),
            Self::Resolved { address, .. } => address.ip().is_loopback(),
            Self::Unix(_) => true,
        };
        !is_here && !self.is_encrypted()
    }

    /// A channel that connects at the first call and again whenever the connection is lost. Why a handshake failed is noted
    /// in `refusal`: the channel's errors do not tell.
    pub(crate) fn channel(&self, reach: &Reach, refusal: &Arc<LastRefusal>) -> Channel {
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
            Self::Http(uri) | Self::Https(uri) | Self::Dns(uri) => {
                let at = (bare(uri.host().unwrap_or_default()).to_owned(), port_of(uri));
                over_network(configure(tonic::transport::Endpoint::from(uri.clone())), uri, at, reach, refusal)
            }
            Self::Resolved { address, origin } => {
                let scheme = origin.scheme_str().unwrap_or("http");
                let uri = Uri::builder().scheme(scheme).authority(address.to_string()).path_and_query("/").build();
                // An address is an authority; the name itself is the fallback that cannot be needed.
                let uri = uri.unwrap_or_else(|_| origin.clone());
                let endpoint = configure(tonic::transport::Endpoint::from(uri).origin(origin.clone()));
                over_network(endpoint, origin, (address.ip().to_string(), address.port()), reach, refusal)
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

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// True for a host that is this one, as far as its name tells.
fn is_loopback(uri: &Uri) -> bool {
    let host = bare(uri.host().unwrap_or_default());
    host.parse::<IpAddr>().map_or(host == "localhost", |address| address.is_loopback())
}

/// A host without the brackets that an address of IPv6 has in a URI.
fn bare(host: &str) -> &str {
    host.trim_matches(['[', ']'])
}

/// The port of a URI; that of its scheme where it has none, which no parsed endpoint is without.
fn port_of(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 })
}

/// A channel to a server called `origin`, at a host and port, over TLS where its scheme says so.
fn over_network(
    endpoint: tonic::transport::Endpoint,
    origin: &Uri,
    (host, port): (String, u16),
    reach: &Reach,
    refusal: &Arc<LastRefusal>,
) -> Channel {
    let Reach { network, tls } = reach.clone();
    if !is_https(origin) {
        return endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let connecting = network.connect(host.clone(), port);
            async move { connecting.await.map(TokioIo::new) }
        }));
    }
    let (origin, refusal) = (origin.clone(), Arc::clone(refusal));
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let (network, tls, origin) = (Arc::clone(&network), tls.clone(), origin.clone());
        let (at, refusal) = ((host.clone(), port), Arc::clone(&refusal));
        async move { secure::connect(&*network, at, &origin, &tls, refusal).await.map(TokioIo::new) }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written_the_same() {
        for text in [
            "http://127.0.0.1:50051",
            "http://[::1]:1",
            "https://decoder.svc:50051",
            "unix:/run/u.sock",
            "dns:///d.svc:1",
            "https+dns://d.svc:1",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("http://a:1/".parse::<Endpoint>(), "http://a:1".parse());
        assert_eq!("http+dns://d.svc:1".parse::<Endpoint>(), "dns:///d.svc:1".parse());
        assert_ne!("https+dns://d.svc:1".parse::<Endpoint>(), "dns:///d.svc:1".parse());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "a:1",
            "http://a",
            "https://a",
            "ftp://a:1",
            "http://a:1/path",
            "unix:relative",
            "unix:",
            "http://:x",
            "dns:///a",
            "dns://a:1",
            "https+dns://a",
            "https+dns:///a:1",
            "dns+https://a:1",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn only_plain_tcp_to_other_hosts_is_exposed() {
        let is_exposed = |text: &str| text.parse::<Endpoint>().unwrap().is_exposed();
        let safe = ["http://localhost:1", "http://127.0.0.9:1", "http://[::1]:1", "https://10.0.0.1:1", "unix:/u.sock"];
        for text in safe.into_iter().chain(["https+dns://decoder.svc:1", "dns:///localhost:1"]) {
            assert!(!is_exposed(text), "{text}");
        }
        let exposed = ["http://10.0.0.1:1", "http://decoder.svc:1", "http://[fe80::1]:1", "http://localhost.evil:1"];
        for text in exposed.into_iter().chain(["dns:///decoder.svc:1"]) {
            assert!(is_exposed(text), "{text}");
        }
    }
}
