//! Where a server listens: a TCP address, a Unix socket for services on one host, or whatever else brings connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// An address to listen on, written `127.0.0.1:50051`, `[::]:50051` or `unix:/run/unipic/decoder.sock`. Port 0 picks a
/// free one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ListenAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return match path.is_absolute() {
                true => Ok(Self::Unix(path)),
                false => Err(format!("{text:?}: the path of a Unix socket must be absolute")),
            };
        }
        let expected = "not of the form 127.0.0.1:50051, [::1]:50051 or unix:/path";
        text.parse().map(Self::Tcp).map_err(|_| format!("{text:?} is {expected}"))
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ListenAddress {
    /// Binds the address. A socket file that nobody listens on, as a killed process leaves it, is replaced.
    ///
    /// Errors: the address is taken or not ours to bind; the message names it.
    pub async fn bind(&self) -> std::io::Result<Listener> {
        let bound = match self {
            Self::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp),
            Self::Unix(path) => bind_unix(path).await,
        };
        bound.map_err(|error| std::io::Error::new(error.kind(), format!("cannot listen on {self}: {error}")))
    }
}

async fn bind_unix(path: &Path) -> std::io::Result<Listener> {
    // A file that is no socket is somebody's data.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    Ok(Listener::Unix(listener, SocketFile(path.to_owned())))
}

/// Bytes both ways, in order.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> ByteStream for IO {}

/// A connection of an [`Accept`] and where it came from, to be.
pub type Accepting<'a> = Pin<Box<dyn Future<Output = io::Result<(Box<dyn ByteStream>, SocketAddr)>> + Send + 'a>>;

/// What brings connections that are none of the operating system's: a simulated network, say.
pub trait Accept: fmt::Debug + Send + Sync + 'static {
    /// Where it is reached.
    ///
    /// # Errors
    /// It does not know.
    fn address(&self) -> io::Result<SocketAddr>;

    /// Waits for the next connection. It may be dropped while it waits, and loses none.
    fn accept(&self) -> Accepting<'_>;
}

/// A bound address, not yet served.
#[derive(Debug)]
pub enum Listener {
    /// On TCP.
    Tcp(TcpListener),
    /// On a Unix socket, whose file is removed at the end.
    Unix(UnixListener, SocketFile),
    /// On anything else.
    Other(Box<dyn Accept>),
}

/// A socket's file; removed when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already; the next start replaces a stale one anyway.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A connection that was accepted.
pub(crate) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
    Other(Box<dyn ByteStream>, SocketAddr),
}

impl Listener {
    /// The address really bound: with the port that was picked for port 0.
    ///
    /// Errors: the operating system does not tell.
    pub fn address(&self) -> std::io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix(_, file) => Ok(ListenAddress::Unix(file.0.clone())),
            Self::Other(listener) => listener.address().map(ListenAddress::Tcp),
        }
    }

    pub(crate) async fn accept(&self) -> std::io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Frames of a generation are small and waited for: never hold one back to fill a segment.
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream, peer))
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
            Self::Other(listener) => listener.accept().await.map(|(stream, peer)| Accepted::Other(stream, peer)),
        }
    }
}
