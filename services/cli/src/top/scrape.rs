//! One look at a process: its metrics and whether it is ready, over HTTP at its operators' port.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::metrics::Metrics;

/// How long a process is waited for. The port is for scrapers, which do not wait long either.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of an answer; a process exports some tens of KiB.
const MAX_BYTES: usize = 8 << 20;

/// Where a process's operators' port is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// `host:port`.
    Tcp(String),
    /// The path of a socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let plain = text.strip_prefix("http://").unwrap_or(text);
        let plain = plain.strip_suffix("/metrics").unwrap_or(plain).trim_end_matches('/');
        let port = plain.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        match port {
            Some((host, _)) if !host.contains(['/', ' ', '@']) => Ok(Self::Tcp(plain.to_owned())),
            _ => Err(format!("`{text}` is no operators' port; write http://host:port, host:port or unix:/path")),
        }
    }
}

/// What was seen of a process.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// What it exports.
    pub(super) metrics: Metrics,
    /// It is between warm-up and drain.
    pub(super) is_ready: bool,
}

/// Looks at a process.
///
/// # Errors
/// In words, when it does not answer in time or is none of ours.
pub(super) async fn look(address: &Address) -> Result<Look, String> {
    let looked = tokio::time::timeout(PATIENCE, async {
        let (status, text) = get(address, "/metrics").await?;
        let metrics = Metrics::parse(&text);
        if status != StatusCode::OK || !metrics.is_ours() {
            return Err("this is no operators' port of unipic's (`listen` under [ops])".to_owned());
        }
        let (ready, _) = get(address, "/readyz").await?;
        Ok(Look { metrics, is_ready: ready == StatusCode::OK })
    });
    looked.await.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

async fn get(address: &Address, path: &str) -> Result<(StatusCode, String), String> {
    let refused = |error: std::io::Error| format!("no answer: {error}");
    match address {
        Address::Tcp(address) => over(TcpStream::connect(address).await.map_err(refused)?, address, path).await,
        Address::Unix(socket) => over(UnixStream::connect(socket).await.map_err(refused)?, "localhost", path).await,
    }
}

/// One request over a connection of its own.
async fn over<S>(stream: S, host: &str, path: &str) -> Result<(StatusCode, String), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let no_http = |error: hyper::Error| format!("no HTTP answer ({error}); is this the port of `listen` under [ops]?");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(no_http)?;
    let request = Request::get(path).header("host", host).body(Empty::<bytes::Bytes>::new());
    let request = request.map_err(|error| format!("`{host}` cannot be asked for: {error}"))?;
    let ask = async {
        let answer = sender.send_request(request).await.map_err(no_http)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    // The connection is driven here and ends here: nothing is left running.
    let mut connection = std::pin::pin!(connection);
    let mut ask = std::pin::pin!(ask);
    tokio::select! {
        answer = &mut ask => answer,
        ended = &mut connection => match ended {
            Err(error) => Err(no_http(error)),
            Ok(()) => ask.await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ports_or_sockets() {
        for good in
            ["127.0.0.1:9090", "http://127.0.0.1:9090", "http://127.0.0.1:9090/", "http://127.0.0.1:9090/metrics"]
        {
            assert_eq!(good.parse(), Ok(Address::Tcp("127.0.0.1:9090".into())), "{good}");
        }
        assert_eq!("[::1]:9".parse(), Ok(Address::Tcp("[::1]:9".into())));
        assert_eq!("unix:/run/a.sock".parse(), Ok(Address::Unix("/run/a.sock".into())));
        for bad in ["", "host", "host:", ":9090", "host:99999", "https://a:1", "unix:", "a b:1", "user@host:1"] {
            let said = bad.parse::<Address>().unwrap_err();
            assert!(said.contains("host:port"), "{bad}: {said}");
        }
    }

    #[tokio::test]
    async fn who_does_not_speak_http_is_told_from_who_does_not_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().to_string());
        let serve = tokio::spawn(async move {
            for answer in ["SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhigh"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await.unwrap();
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
            }
        });
        assert!(look(&address).await.unwrap_err().contains("no HTTP answer"));
        assert!(look(&address).await.unwrap_err().contains("no operators' port"));
        serve.await.unwrap();
        assert!(look(&address).await.unwrap_err().contains("no answer"));
    }
}
