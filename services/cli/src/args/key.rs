//! `key`.

use clap::{Args, Subcommand};

/// Make keys for the clients of a server.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key, and show it once with the lines that let it in.
    ///
    /// The key goes to the client and nowhere else; the lines go into the server's configuration file and hold only its
    /// hash. A tenant may have two valid keys at once: add the new one, give it to the client, then take the old one out.
    New(New),
}

/// Make a key.
#[derive(Args, Debug)]
pub(crate) struct New {
    /// Whose key it is.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) tenant: String,
    /// When it ends, such as 2027-01-31T00:00:00Z [default: never].
    #[arg(long, value_name = "TIME")]
    pub(crate) not_after: Option<String>,
}
