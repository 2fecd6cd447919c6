//! What a failed handshake means to a caller.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why a connection came to nothing, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No authority that we trust vouches for the server's certificate.
    ServerUntrusted,
    /// The server's certificate is expired or not yet valid.
    ServerExpired,
    /// The server's certificate is for somebody else.
    ServerOther,
    /// The server does not take our certificate, or wants one and we have none.
    ClientRefused,
    /// The other side does not speak TLS as we do, or not at all.
    Handshake,
}

impl Refusal {
    /// What an error of an encrypted connection means; `None` for errors that are not about TLS.
    pub fn of(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::InvalidCertificate(error) => of_certificate(error),
            Error::AlertReceived(alert) if is_about_certificates(*alert) => Self::ClientRefused,
            _ => Self::Handshake,
        })
    }
}

fn of_certificate(error: &CertificateError) -> Refusal {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => Refusal::ServerExpired,
        E::NotValidForName | E::NotValidForNameContext { .. } => Refusal::ServerOther,
        _ => Refusal::ServerUntrusted,
    }
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::CertificateRequired
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::DecryptError
    )
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServerUntrusted => "no trusted authority vouches for the server's certificate",
            Self::ServerExpired => "the server's certificate is expired or not yet valid",
            Self::ServerOther => "the server's certificate is for another name or identity",
            Self::ClientRefused => "the server wants a certificate that it trusts from this client",
            Self::Handshake => "the TLS handshake failed",
        })
    }
}
