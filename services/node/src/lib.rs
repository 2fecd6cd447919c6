//! The four services in one process on one device.
//!
//! Assembly only: weights are loaded once, one engine thread owns the device, and the gateway's flows run over
//! [`NodeBackends`], which hands tensors from part to part by value. No logic of a service lives here, which is why one
//! process and four give the same bytes.

mod backends;
mod config;
mod language;
mod node;

pub use backends::NodeBackends;
pub use config::Config;
pub use node::{Node, NodeError};
