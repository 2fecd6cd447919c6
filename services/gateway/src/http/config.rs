//! The table `[http]`.

use std::fmt;
use std::str::FromStr;

use axum::http::uri::Authority;
use serde::Deserialize;
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
