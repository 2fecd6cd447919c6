//! How every service of ours is started, guarded and stopped.
//!
//! A process loads its configuration with [`config::load`], builds its gRPC services, adds them to [`Services`], binds a
//! [`Listener`] and calls [`serve`], which returns when the shutdown future resolves and the calls under way have ended,
//! or the drain limit has passed. With [`Ops`], requests are counted, and metrics and probes are answered on a port of their
//! own. Handlers find their caller's deadline and cancellation in [`CallContext`]. What takes long to load comes [`Later`], behind
//! [`serve_when_warm`].
//!
//! [`serve_web`] serves plain HTTP with the same guards, for browsers and clients without gRPC.
//!
//! Connections are encrypted where [`ServerTlsConfig`] says so, and calls are let in by the peer's certificate
//! (`tls.allowed`) and by a [`Guard`], before a handler or a body is touched.
//!
//! tonic's own server is not used, for what it cannot be told: it answers a late call with CANCELLED and only until the
//! response's headers, keeps a peer that never finishes its preface for ever, and waits without limit at the end.

mod accepting;
pub mod access;
pub mod call;
pub mod config;
mod connection;
mod connections;
mod drain;
mod later;
mod listen;
mod ops;
mod pace;
mod peers;
mod priority;
mod remap;
mod requests;
mod secure;
mod seldom;
mod server;
mod shutdown;
mod stream;
mod tenant;
mod upload;
mod web;

pub use access::Guard;
pub use call::{CallContext, TakesCalls};
pub use config::{ConfigError, Problems, Validate};
pub use connections::ConnectionsConfig;
pub use drain::Drained;
pub use later::{Later, beside};
pub use listen::{Accept, Accepting, ByteStream, ListenAddress, Listener};
pub use ops::{Ops, OpsConfig};
pub use pace::{PacedBody, SlowUpload};
pub use priority::{PRIORITY, Priority};
pub use requests::refusal_of;
pub use server::{Readiness, ServerConfig, Services, serve, serve_when_warm};
pub use shutdown::{shutdown_signal, stop_signal};
pub use tenant::Tenant;
pub use unipic_tls::{PeerIdentity, ServerTls, ServerTlsConfig};
pub use web::serve_web;
