//! The accepting side.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::ServerTlsConfig;
use crate::files::{PemFile, TlsError};
use crate::identity::PeerIdentity;
use crate::provider;

/// How long a peer may take over its handshake. With the limit on HTTP/2's preface behind it, a peer that dawdles is gone
/// within ten seconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(4);

/// How long, and for how many bytes, a refused peer is still listened to.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES: u64 = 64 << 10;

/// Accepts encrypted connections with the certificates of the moment. Clones share them.
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    config: ServerTlsConfig,
    protocols: Vec<Vec<u8>>,
    current: Mutex<Current>,
}

struct Current {
    /// What the files held at the last look, good or bad, so that a bad state is told once.
    seen: Option<Result<Files, TlsError>>,
    acceptor: Option<TlsAcceptor>,
}

/// A connection whose handshake has been made.
#[derive(Debug)]
pub struct Secured<IO> {
    /// The encrypted stream.
    pub stream: TlsStream<IO>,
    /// Who the peer is, where it had to show a certificate.
    pub peer: Option<PeerIdentity>,
}

/// Why a handshake came to nothing, seen from the server.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The configured files have not been good yet.
    #[error("no usable certificate: nobody is let in")]
    NoCertificate,
    /// The peer took too long.
    #[error("the peer did not finish its handshake in time")]
    TooSlow,
    /// The peer went away, speaks something else, or has no certificate that we trust.
    #[error("the handshake failed: {0}")]
    Failed(#[from] io::Error),
}

impl ServerTls {
    /// Encryption as configured, for these protocols (ALPN names, such as `h2`). While the files are not good, every
    /// connection is refused; the log says why.
    pub fn new(config: &ServerTlsConfig, protocols: &[&[u8]]) -> Self {
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let current = Mutex::new(Current { seen: None, acceptor: None });
        let tls = Self(Arc::new(Inner { config: config.clone(), protocols, current }));
        tls.0.look();
        tls
    }

    /// Makes the handshake of an accepted connection.
    ///
    /// # Errors
    /// When the peer is not let in, or too slow.
    pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> Result<Secured<IO>, AcceptError> {
        let acceptor = self.0.acceptor().ok_or(AcceptError::NoCertificate)?;
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(io).into_fallible()).await;
        let stream = match handshake.map_err(|_| AcceptError::TooSlow)? {
            Ok(stream) => stream,
            Err((error, io)) => {
                part(io).await;
                return Err(error.into());
            }
        };
        let (_, session) = stream.get_ref();
        let peer = session.peer_certificates().and_then(<[_]>::first).map(PeerIdentity::of);
        Ok(Secured { stream, peer })
    }

    /// Looks at the files again and again, for ever. Poll it beside the accepting.
    pub async fn follow_files(&self) -> Infallible {
        loop {
            tokio::time::sleep(Duration::from_secs_f64(self.0.config.reload_seconds)).await;
            let inner = Arc::clone(&self.0);
            // A folder of certificates may lie on a slow or lost network drive.
            if let Err(error) = tokio::task::spawn_blocking(move || inner.look()).await {
                tracing::error!(%error, "looking at the certificates failed");
            }
        }
    }
}

/// Ends a refused connection so that the peer hears why. Closing at once would reset a connection on which the peer is
/// still sending, and the alert would be lost with it.
async fn part<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) {
    let hear_out = async {
        io.shutdown().await?;
        tokio::io::copy(&mut (&mut io).take(PARTING_BYTES), &mut tokio::io::sink()).await
    };
    // The peer may be gone, or go on for ever: either way it has been told.
    let _ = tokio::time::timeout(PARTING, hear_out).await;
}

impl Inner {
    fn acceptor(&self) -> Option<TlsAcceptor> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }

    /// Reads the files and takes them over where they changed and are good.
    fn look(&self) {
        let read = Files::read(&self.config);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.seen.as_ref() == Some(&read) {
            return;
        }
        let built = read.as_ref().map_err(Clone::clone).and_then(|files| files.build(&self.protocols));
        let was_on = current.acceptor.is_some();
        match built {
            Ok(config) => {
                current.acceptor = Some(TlsAcceptor::from(Arc::new(config)));
                if was_on {
                    tracing::info!("new certificates: new connections get them");
                }
            }
            Err(error) if was_on => tracing::warn!(%error, "bad new certificates: those from before are kept"),
            Err(error) => tracing::error!(%error, "bad certificates: nobody is let in"),
        }
        current.seen = Some(read);
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerTls").field(&self.0.config).finish()
    }
}

/// Tries whether a server could start on these files.
pub(crate) fn try_files(config: &ServerTlsConfig) -> Result<(), TlsError> {
    Files::read(config)?.build(&[]).map(drop)
}

/// What a server's files hold.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: PemFile,
    key: PemFile,
    client_ca: Option<PemFile>,
}

impl Files {
    fn read(config: &ServerTlsConfig) -> Result<Self, TlsError> {
        let missing = |key| TlsError { key, problem: "is missing".to_owned() };
        let certificate = PemFile::read_if("certificate", config.certificate.as_deref())?;
        let key = PemFile::read_if("key", config.key.as_deref())?;
        Ok(Self {
            certificate: certificate.ok_or_else(|| missing("certificate"))?,
            key: key.ok_or_else(|| missing("key"))?,
            client_ca: PemFile::read_if("client_ca", config.client_ca.as_deref())?,
        })
    }

    fn build(&self, protocols: &[Vec<u8>]) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| self.certificate.wrong(error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(file.authorities()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| file.wrong(error))?)
            }
        };
        let mut config = builder
            .with_single_cert(self.certificate.certificates()?, self.key.private_key()?)
            .map_err(|error| self.certificate.wrong(error))?;
        config.alpn_protocols = protocols.to_vec();
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(config)
    }
}
