//! TLS between our processes and with their clients: which files hold what, who is who, and what a failed handshake means.
//!
//! A server takes a [`ServerTlsConfig`] and accepts through [`ServerTls`]; a client takes a [`ClientTlsConfig`] and connects
//! through [`ClientTls`]. Both read their files again while they run, so certificates may be short-lived: a changed file
//! holds for new connections, a bad one leaves what was there before, and old connections go on.
//!
//! TLS 1.3 only, without session resumption: a resumed session would skip the very checks (of authority, identity and
//! time) that this crate is for, and connections here are few and long. Identities are URIs in the certificate
//! (`spiffe://domain/service`), because addresses of services change and their roles do not.

mod client;
mod config;
mod failure;
mod files;
mod identity;
mod server;
mod verify;

pub use client::{ClientTls, ConnectError, web_client};
pub use config::{ClientTlsConfig, ServerTlsConfig};
pub use failure::Refusal;
pub use files::TlsError;
pub use identity::{IdentityPattern, InvalidIdentity, PeerIdentity, ServerIdentity};
pub use server::{AcceptError, Secured, ServerTls};

pub use tokio_rustls::{client::TlsStream as ClientStream, server::TlsStream as ServerStream};

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

/// The one provider of cryptography. Named wherever rustls asks, so that no other crate's choice for the process matters.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}
