//! The key that a client of the public service is known by.

use std::fmt;

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

/// A secret key, as `unipic key new` makes them. It is never printed: not by `Debug`, not in an error.
#[derive(Clone)]
pub struct ApiKey(MetadataValue<Ascii>);

/// A text that cannot be a key. It does not say which: a mistyped key is most of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the API key is empty or has characters that no header can carry")]
pub struct InvalidApiKey;

impl ApiKey {
    /// Takes a key; white space around it, as files and variables have, is dropped.
    ///
    /// Errors: empty, or characters beyond visible ASCII.
    pub fn new(key: &str) -> Result<Self, InvalidApiKey> {
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidApiKey);
        }
        let mut value: MetadataValue<Ascii> = format!("Bearer {key}").parse().map_err(|_| InvalidApiKey)?;
        // What logs and compresses headers leaves sensitive ones out.
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// Puts the key into a call's metadata.
    pub fn attach(&self, metadata: &mut MetadataMap) {
        metadata.insert("authorization", self.0.clone());
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_into_the_metadata_and_nowhere_else() {
        let key = ApiKey::new(" unipic_secret\n").unwrap();
        let mut metadata = MetadataMap::new();
        key.attach(&mut metadata);
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer unipic_secret");
        assert!(!format!("{key:?} {metadata:?}").contains("secret"));
        for bad in ["", "  ", "two words", "schlüssel", "a\nb"] {
            assert_eq!(ApiKey::new(bad).unwrap_err(), InvalidApiKey);
        }
    }
}
