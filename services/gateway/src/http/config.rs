//! The table `[http]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::http::uri::Authority;
use serde::Deserialize;
use unipic_fetch::{FetchLimits, Fetcher};
use unipic_serving::{ListenAddress, Listener, Problems, Validate};

/// What an operator chooses about the HTTP API.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where it listens, `127.0.0.1:8080` or `unix:/path`, or `off`. Left out: the process's default, which is off in a
    /// gateway and 127.0.0.1:8080 in a node.
    pub listen: Option<HttpListen>,
    /// Origins of other sites whose pages may use the API, such as `https://example.org`. None by default: then browsers
    /// let only pages of this server use it.
    pub cors_origins: Vec<String>,
    /// Names that requests may have in their Host header besides those of this machine, without ports. Where any is listed,
    /// the header is judged on every address; otherwise only on loopback and without keys.
    pub allowed_hosts: Vec<String>,
    /// Images of conversations that stand as addresses.
    pub remote_images: RemoteImagesConfig,
}

/// Whether and how images that a conversation names by their addresses are fetched: from public addresses only.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteImagesConfig {
    /// Whether they are at all. By default only data URIs are taken.
    pub fetch: bool,
    /// The longest one image may take, redirects included, in seconds.
    pub timeout_seconds: f64,
    /// Redirects that are followed. Each is judged like the first address.
    pub max_redirects: usize,
    /// Images that are fetched at once, those of all requests together.
    pub max_concurrent: usize,
    /// Hosts of one's own, `host:port`, that are fetched from though they are at private addresses or at other ports than
    /// http's 80 and https's 443.
    pub private_hosts: Vec<String>,
}

impl Default for RemoteImagesConfig {
    fn default() -> Self {
        Self { fetch: false, timeout_seconds: 10.0, max_redirects: 3, max_concurrent: 16, private_hosts: Vec::new() }
    }
}

impl RemoteImagesConfig {
    /// What a fetcher keeps to, where there is one.
    pub(crate) fn limits(&self, max_bytes: u32) -> Option<FetchLimits> {
        self.fetch.then(|| FetchLimits {
            max_bytes: max_bytes as usize,
            timeout: Duration::try_from_secs_f64(self.timeout_seconds).unwrap_or_default(),
            max_redirects: self.max_redirects,
            max_concurrent: self.max_concurrent,
            private_hosts: self.private_hosts.clone(),
        })
    }
}

impl Validate for RemoteImagesConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.check((0.1..=600.0).contains(&self.timeout_seconds), "timeout_seconds", "must be from 0.1 to 600");
        problems.check(self.max_redirects <= 20, "max_redirects", "must be at most 20");
        problems.check((1..=1024).contains(&self.max_concurrent), "max_concurrent", "must be from 1 to 1024");
        for host in &self.private_hosts {
            let is_right = host.parse::<Authority>().is_ok_and(|at| at.port_u16().is_some() && !host.contains('@'));
            problems.check(is_right, "private_hosts", format!("{host:?} is not of the form host:port"));
        }
        if let Some(Err(error)) = self.limits(0).map(Fetcher::new) {
            problems.check(false, "fetch", format!("no server of https could be trusted: {error}"));
        }
    }
}

/// Where the HTTP API listens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum HttpListen {
    /// Nowhere.
    Off,
    /// At an address.
    At(ListenAddress),
}

impl FromStr for HttpListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            address => address.parse().map(Self::At).map_err(|error| format!("{error}, nor `off`")),
        }
    }
}

impl TryFrom<String> for HttpListen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for HttpListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl HttpConfig {
    /// Binds the address, or `default` where none is configured; nothing where neither says one.
    ///
    /// # Errors
    /// The address cannot be listened on; the message names it and says how to choose another.
    pub async fn bind(&self, default: Option<ListenAddress>) -> std::io::Result<Option<Listener>> {
        let address = match &self.listen {
            Some(HttpListen::Off) => return Ok(None),
            Some(HttpListen::At(address)) => address.clone(),
            None => match default {
                Some(address) => address,
                None => return Ok(None),
            },
        };
        let listener = address.bind().await.map_err(|error| {
            let remedy =
                "choose another address for the HTTP API with --http ADDRESS or `listen` in the table [http], or `off`";
            std::io::Error::new(error.kind(), format!("{error}; {remedy}"))
        })?;
        tracing::info!(listen = %listener.address()?, "listening for HTTP");
        Ok(Some(listener))
    }
}

impl Validate for HttpConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.section("remote_images", &self.remote_images);
        for origin in &self.cors_origins {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            // As browsers send it: no path, no slash at the end.
            let is_right = host.is_some_and(|host| {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
                !host.is_empty() && host.bytes().all(allowed)
            });
            problems.check(
                is_right,
                "cors_origins",
                format!("{origin:?} is not of the form https://host or http://host:port"),
            );
        }
        for host in &self.allowed_hosts {
            // Without a port: a server behind a proxy does not know which one its clients see.
            let is_right = host.parse::<Authority>().is_ok_and(|authority| authority.host() == host);
            problems.check(is_right, "allowed_hosts", format!("{host:?} is no host's name or address"));
        }
    }
}
