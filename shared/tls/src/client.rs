//! The connecting side.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::ClientTlsConfig;
use crate::failure::Refusal;
use crate::files::{PemFile, TlsError};
use crate::identity::ServerIdentity;
use crate::provider;
use crate::verify::ByIdentity;

/// Makes encrypted connections. Clones share the files, which are looked at again before every connection: those are rare,
/// and nothing has to run between them.
#[derive(Clone, Default)]
pub struct ClientTls(Arc<Inner>);

#[derive(Default)]
struct Inner {
    config: ClientTlsConfig,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// What the files held at the last look, good or bad, so that a bad state is told once.
    seen: Option<Result<Files, TlsError>>,
    config: Option<Arc<ClientConfig>>,
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configured files are no good and never were.
    #[error(transparent)]
    Files(#[from] TlsError),
    /// The endpoint's host is no name that a certificate could have.
    #[error("{0:?} is no host name")]
    Host(String),
    /// The handshake failed.
    #[error("the handshake failed: {0}")]
    Handshake(#[from] io::Error),
    /// The runtime is going down.
    #[error("no thread to read the certificates in")]
    NoThread,
}

impl ConnectError {
    /// What the failure means to a caller.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Handshake(error) => Refusal::of(error).unwrap_or(Refusal::Handshake),
            _ => Refusal::Handshake,
        }
    }
}

impl ClientTls {
    /// Encryption as configured, its files read now.
    ///
    /// # Errors
    /// A file that does not hold what its key promises.
    pub fn load(config: &ClientTlsConfig) -> Result<Self, TlsError> {
        let tls = Self::new(config);
        tls.0.look()?;
        Ok(tls)
    }

    /// Encryption as configured, its files read at the first connection.
    pub fn new(config: &ClientTlsConfig) -> Self {
        Self(Arc::new(Inner { config: config.clone(), current: Mutex::default() }))
    }

    /// The same with another expected server.
    #[must_use]
    pub fn expecting(&self, server: Option<&ServerIdentity>) -> Self {
        let mut config = self.0.config.clone();
        if let Some(server) = server {
            config.server_identity = Some(server.clone());
        }
        Self::new(&config)
    }

    /// Makes the handshake with the server at `host` over `io`. The caller sets a time limit.
    ///
    /// # Errors
    /// When the files are no good or the server is not who it must be. A server that refuses this client's certificate says
    /// so only at the first read: TLS 1.3 ends the client's handshake before.
    pub async fn connect<IO>(&self, host: &str, io: IO) -> Result<TlsStream<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let inner = Arc::clone(&self.0);
        let looked = tokio::task::spawn_blocking(move || inner.look()).await;
        let config = looked.map_err(|_| ConnectError::NoThread)??;
        let name = match &self.0.config.server_identity {
            Some(ServerIdentity::Name(name)) => name.clone(),
            // With an identity the name is only what the server is told.
            _ => ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(|_| ConnectError::Host(host.to_owned()))?,
        };
        Ok(TlsConnector::from(config).connect(name, io).await?)
    }
}

impl Inner {
    /// Reads the files and takes them over where they changed and are good.
    fn look(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let read = Files::read(&self.config);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.seen.as_ref() == Some(&read)
            && let Some(config) = &current.config
        {
            return Ok(Arc::clone(config));
        }
        let built = read.as_ref().map_err(Clone::clone).and_then(|files| files.build(&self.config));
        match (built, &current.config) {
            (Ok(config), before) => {
                if before.is_some() {
                    tracing::info!("new certificates: new connections use them");
                }
                current.config = Some(Arc::new(config));
            }
            (Err(error), Some(_)) => tracing::warn!(%error, "bad new certificates: those from before are kept"),
            (Err(error), None) => return Err(error),
        }
        current.seen = Some(read);
        let nothing = || TlsError { key: "ca", problem: "no certificates".to_owned() };
        current.config.clone().ok_or_else(nothing)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientTls").field(&self.0.config).finish()
    }
}

/// What a client's files hold.
#[derive(PartialEq, Eq)]
struct Files {
    ca: Option<PemFile>,
    pair: Option<(PemFile, PemFile)>,
}

impl Files {
    fn read(config: &ClientTlsConfig) -> Result<Self, TlsError> {
        let certificate = PemFile::read_if("certificate", config.certificate.as_deref())?;
        let key = PemFile::read_if("key", config.key.as_deref())?;
        Ok(Self { ca: PemFile::read_if("ca", config.ca.as_deref())?, pair: certificate.zip(key) })
    }

    fn build(&self, config: &ClientTlsConfig) -> Result<ClientConfig, TlsError> {
        let roots = match &self.ca {
            Some(file) => file.authorities()?,
            None => system_authorities()?,
        };
        let wrong = |error: rustls::Error| TlsError { key: "certificate", problem: error.to_string() };
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(wrong)?;
        let builder = match &config.server_identity {
            Some(ServerIdentity::Uri(identity)) => {
                let verifier = ByIdentity::new(roots, identity.clone());
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            _ => builder.with_root_certificates(roots),
        };
        let mut built = match &self.pair {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificate.certificates()?, key.private_key()?)
                .map_err(|error| certificate.wrong(error))?,
        };
        built.alpn_protocols = vec![b"h2".to_vec()];
        built.resumption = Resumption::disabled();
        Ok(built)
    }
}

/// How servers on the web are met, whom nobody has a certificate of: by the authorities that the system trusts.
///
/// # Errors
/// When the system trusts none.
pub fn web_client() -> Result<ClientConfig, TlsError> {
    let wrong = |error: rustls::Error| TlsError { key: "ca", problem: error.to_string() };
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    Ok(builder.map_err(wrong)?.with_root_certificates(system_authorities()?).with_no_client_auth())
}

/// Whom the system trusts. Certificates there that cannot be read are passed over, as every program does.
fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(TlsError { key: "ca", problem: "is not set, and this system trusts no authorities".to_owned() }),
        false => Ok(roots),
    }
}
