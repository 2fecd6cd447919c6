//! Calling our services: where they are, which replica to take, when to try again, and what went wrong.
//!
//! [`connect`] makes a [`Connection`] to one or more replicas, over which every generated client works; statuses that
//! come out of it are already put right (a server killed in the middle of a stream is UNAVAILABLE, not UNKNOWN).
//! [`UniPicClient`] is what users of the public service want: deadlines, retries and errors to read.

mod connection;
mod endpoint;
mod error;
mod replicas;
mod transport;
mod unipic;

pub use connection::{Connection, NoEndpoints, connect, decoder, synthesis, understanding};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::ClientError;
pub use replicas::Replicas;
pub use unipic::{CallOptions, Events, UniPicClient};
