//! How servers are reached: over the operating system's network, or over another in its place.
//!
//! All that this crate asks of a network is a stream to a host and the addresses of a name, so whoever has both (a
//! simulation with faults of its own, a proxy, a mesh inside the process) can carry the same calls, with the same health
//! watches, breakers and retries, as TCP does.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes both ways, in order.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> ByteStream for IO {}

/// What carries connections to servers.
pub trait Network: fmt::Debug + Send + Sync + 'static {
    /// Opens a stream to a port of a host, which is a name or an address (one of IPv6 without brackets). The caller limits
    /// the time.
    ///
    /// # Errors
    /// Nobody can be reached there.
    fn connect(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>>;

    /// All addresses that a name stands for now.
    ///
    /// # Errors
    /// The name cannot be looked up.
    fn lookup(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// TCP and the resolver of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn connect(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            // Frames of a generation are small and waited for: never hold one back to fill a segment.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    fn lookup(&self, host: String, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { tokio::net::lookup_host((host, port)).await.map(Iterator::collect) })
    }
}
