//! What an operator sets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::client::ClientTls;
use crate::files::TlsError;
use crate::identity::{IdentityPattern, ServerIdentity};
use crate::server;

/// TLS of a server. Off while nothing is set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTlsConfig {
    /// PEM file with the server's certificate, then those that lead from it towards its authority.
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub key: Option<PathBuf>,
    /// PEM file with the authorities of clients. When set, every client must have a certificate of one of them.
    pub client_ca: Option<PathBuf>,
    /// Identities that may call: `spiffe://domain/service` exactly, or `spiffe://domain/*` and all below. While it is empty,
    /// whoever has a certificate of `client_ca` may.
    pub allowed: Vec<IdentityPattern>,
    /// Identities that may call a method, instead of those of `allowed`; keys are `package.Service/Method` or
    /// `package.Service/*`, and the more exact one holds.
    pub allowed_methods: BTreeMap<String, Vec<IdentityPattern>>,
    /// Seconds between two looks at the files.
    pub reload_seconds: f64,
}

impl Default for ServerTlsConfig {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            client_ca: None,
            allowed: Vec::new(),
            allowed_methods: BTreeMap::new(),
            reload_seconds: 5.0,
        }
    }
}

impl ServerTlsConfig {
    /// True when connections are to be encrypted.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some()
    }

    /// What is wrong, by key; files are read and tried.
    pub fn violations(&self) -> Vec<(&'static str, String)> {
        let mut found = pair(&self.certificate, &self.key);
        if self.client_ca.is_some() && self.certificate.is_none() {
            found.push(("client_ca", "needs `certificate` and `key`: without TLS nobody is asked for one".to_owned()));
        }
        for (key, is_set) in
            [("allowed", !self.allowed.is_empty()), ("allowed_methods", !self.allowed_methods.is_empty())]
        {
            if is_set && self.client_ca.is_none() {
                found.push((key, "needs `client_ca`: without client certificates nobody has an identity".to_owned()));
            }
        }
        if !(0.01..=3600.0).contains(&self.reload_seconds) {
            found.push(("reload_seconds", "must be from 0.01 to 3600".to_owned()));
        }
        if found.is_empty()
            && self.is_on()
            && let Err(error) = server::try_files(self)
        {
            found.push(violation(error));
        }
        found
    }
}

/// TLS of a client, for endpoints written `https://`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTlsConfig {
    /// PEM file with the authorities of servers. Left out: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// PEM file with this client's certificate, for servers that ask for one.
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub key: Option<PathBuf>,
    /// Who the server must be: `spiffe://domain/service`, `spiffe://domain/*`, or a host name. Left out: the endpoint's host.
    pub server_identity: Option<ServerIdentity>,
}

impl ClientTlsConfig {
    /// What is wrong, by key; files are read and tried.
    pub fn violations(&self) -> Vec<(&'static str, String)> {
        let mut found = pair(&self.certificate, &self.key);
        // The system's authorities are looked for at the first connection: nobody may need them.
        let has_files = self.ca.is_some() || self.certificate.is_some();
        if found.is_empty()
            && has_files
            && let Err(error) = ClientTls::load(self)
        {
            found.push(violation(error));
        }
        found
    }
}

fn violation(error: TlsError) -> (&'static str, String) {
    (error.key, error.problem)
}

/// A certificate is of no use without its key, nor a key without its certificate.
fn pair(certificate: &Option<PathBuf>, key: &Option<PathBuf>) -> Vec<(&'static str, String)> {
    match (certificate, key) {
        (Some(_), None) => vec![("key", "is missing: `certificate` needs its private key".to_owned())],
        (None, Some(_)) => vec![("certificate", "is missing: `key` needs its certificate".to_owned())],
        _ => Vec::new(),
    }
}
