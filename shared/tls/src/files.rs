//! PEM files, read whole and compared by their bytes.
//!
//! Bytes and not modification times tell whether a file changed: orchestrators swap links to folders, clocks have coarse
//! ticks, and the files are small.

use std::io::Read;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Bytes of a PEM file, at most; a system's whole list of authorities takes a quarter of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A file that does not hold what its key promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {problem}")]
pub struct TlsError {
    /// The configuration's key.
    pub key: &'static str,
    /// What is wrong, with the file.
    pub problem: String,
}

/// A file's path and bytes. Not `Debug`: it may be a private key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PemFile {
    key: &'static str,
    name: String,
    bytes: Vec<u8>,
}

impl PemFile {
    /// Reads the file that stands under `key`.
    pub(crate) fn read(key: &'static str, path: &Path) -> Result<Self, TlsError> {
        let name = path.display().to_string();
        let failed = |problem: String| TlsError { key, problem: format!("{name}: {problem}") };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|error| failed(format!("cannot be opened: {error}")))?;
        let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(failed("is larger than 1 MiB, which no certificate file is".to_owned()));
        }
        Ok(Self { key, name, bytes })
    }

    /// Reads the file where there is one.
    pub(crate) fn read_if(key: &'static str, path: Option<&Path>) -> Result<Option<Self>, TlsError> {
        path.map(|path| Self::read(key, path)).transpose()
    }

    /// An error about this file.
    pub(crate) fn wrong(&self, problem: impl std::fmt::Display) -> TlsError {
        TlsError { key: self.key, problem: format!("{}: {problem}", self.name) }
    }

    /// The certificates in it, in order; at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| self.wrong(format!("is no PEM file: {error}")))?;
        match certificates.is_empty() {
            true => Err(self.wrong("holds no certificate")),
            false => Ok(certificates),
        }
    }

    /// The certificates in it as authorities.
    pub(crate) fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.wrong(format!("holds no authority: {error}")))?;
        }
        Ok(roots)
    }

    /// The private key in it. What is wrong with one is not told further: the parser could quote it.
    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|_| self.wrong("holds no private key in PEM"))
    }
}
