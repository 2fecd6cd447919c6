//! New keys.

use sha2::{Digest, Sha256};

/// What keys begin with, so that scanners for leaked secrets know them.
const PREFIX: &str = "unipic_";

/// A key that was just made. Not `Debug`: it is shown once, on purpose.
pub struct NewKey {
    /// The key. Nobody can make it from the hash again.
    pub key: String,
    /// SHA-256 of the key, in hex, for the configuration.
    pub sha256: String,
}

/// The operating system gave no random bytes.
#[derive(Debug)]
pub struct NoRandomness(getrandom::Error);

impl std::error::Error for NoRandomness {}

impl std::fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the operating system gave no random bytes: {}", self.0)
    }
}

impl NewKey {
    /// Makes a key of 256 random bits from the operating system.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(NoRandomness)?;
        let key = format!("{PREFIX}{}", hex(&bits));
        let sha256 = hex(&Sha256::digest(&key));
        Ok(Self { key, sha256 })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
