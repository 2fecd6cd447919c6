//! Who a peer is, and who it may be.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;

/// A text that names no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no identity: write spiffe://domain/service, or spiffe://domain/* for all below")]
pub struct InvalidIdentity(String);

/// An identity, or all below a path: `spiffe://domain/service`, `spiffe://domain/*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct IdentityPattern(String);

impl FromStr for IdentityPattern {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        // A star stands only for whole segments, so that no pattern takes in a neighbour that begins alike.
        let fixed = text.strip_suffix("/*").unwrap_or(text);
        let is_uri = fixed.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
        let is_plain = fixed.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*');
        match is_uri && is_plain {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidIdentity(text.to_owned())),
        }
    }
}

impl TryFrom<String> for IdentityPattern {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, InvalidIdentity> {
        text.parse()
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl IdentityPattern {
    /// True when `identity` is the one named, or below the path.
    pub fn matches(&self, identity: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(path) => identity.len() > path.len() && identity.starts_with(path),
            None => identity == self.0,
        }
    }
}

/// Whom a client expects behind an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ServerIdentity {
    /// A URI in the certificate; its host names do not matter then.
    Uri(IdentityPattern),
    /// A host name or address in the certificate, in place of the endpoint's.
    Name(ServerName<'static>),
}

impl FromStr for ServerIdentity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        if text.contains("://") {
            return text.parse().map(Self::Uri);
        }
        ServerName::try_from(text.to_owned()).map(Self::Name).map_err(|_| InvalidIdentity(text.to_owned()))
    }
}

impl TryFrom<String> for ServerIdentity {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, InvalidIdentity> {
        text.parse()
    }
}

/// Who a verified peer says it is. A server's requests carry it among their extensions where the peer had a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity(Arc<[String]>);

impl PeerIdentity {
    /// The URIs of a certificate that has been verified.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(uris(certificate).into())
    }

    /// The peer's URIs; none where its certificate has only other names.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// True when one of the peer's URIs fits one of `patterns`.
    pub fn is_among(&self, patterns: &[IdentityPattern]) -> bool {
        patterns.iter().any(|pattern| self.uris().any(|uri| pattern.matches(uri)))
    }
}

/// The URI names of a certificate.
pub(crate) fn uris(certificate: &CertificateDer<'_>) -> Vec<String> {
    match webpki::EndEntityCert::try_from(certificate) {
        Ok(certificate) => certificate.valid_uri_names().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> IdentityPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_fits_itself_or_what_is_below() {
        assert!(pattern("spiffe://u/gateway").matches("spiffe://u/gateway"));
        for other in ["spiffe://u/gateway2", "spiffe://u/gatewa", "spiffe://u/gateway/x", "Spiffe://u/gateway", ""] {
            assert!(!pattern("spiffe://u/gateway").matches(other), "{other}");
        }
        assert!(pattern("spiffe://u/ops/*").matches("spiffe://u/ops/anna"));
        assert!(pattern("spiffe://u/*").matches("spiffe://u/ops/anna"));
        for other in ["spiffe://u/ops", "spiffe://u/ops/", "spiffe://u/ops2/anna", "spiffe://v/ops/anna"] {
            assert!(!pattern("spiffe://u/ops/*").matches(other), "{other}");
        }
    }

    #[test]
    fn texts_that_are_no_identity_are_refused() {
        for text in ["", "*", "gateway", "spiffe://", "://x", "spiffe://u/gate*", "spiffe://*/x", "spiffe://u/a b"] {
            let error = text.parse::<IdentityPattern>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert!(matches!("decoder.svc".parse(), Ok(ServerIdentity::Name(_))));
        assert!(matches!("10.0.0.1".parse(), Ok(ServerIdentity::Name(_))));
        assert!(matches!("spiffe://u/decoder".parse(), Ok(ServerIdentity::Uri(_))));
        assert!("not a name".parse::<ServerIdentity>().is_err());
    }
}
