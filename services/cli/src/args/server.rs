//! A running server, and how to come to it.

use std::path::PathBuf;

use clap::Args;
use unipic_client::{ApiKey, InvalidApiKey};

/// A running server, and how to come to it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Server {
    /// A running server, such as http://localhost:50051, https://unipic:50051 or unix:/run/unipic.sock.
    #[arg(long = "server", value_name = "URL", env = "UNIPIC_SERVER")]
    pub(crate) url: Option<String>,
    /// The key that the server asks for. The variable is the better place: others on this machine see arguments.
    #[arg(long, value_name = "KEY", env = "UNIPIC_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<Secret>,
    /// PEM file with the authorities of an https:// server [default: the system's].
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) ca: Option<PathBuf>,
    /// PEM file with this client's certificate, for a server that asks for one.
    #[arg(long, value_name = "FILE", requires_all = ["url", "key"])]
    pub(crate) cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Who an https:// server must be: spiffe://domain/service or a host name [default: the URL's host].
    #[arg(long, value_name = "IDENTITY", requires = "url")]
    pub(crate) server_identity: Option<String>,
}

/// A text that is not shown. Taken as it is: an error about it would be printed with it.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hidden")
    }
}

impl Secret {
    /// The text as a key.
    ///
    /// # Errors
    /// When it cannot be one.
    pub(crate) fn to_api_key(&self) -> Result<ApiKey, InvalidApiKey> {
        ApiKey::new(&self.0)
    }
}
