//! Which keys there are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::Deserialize;
use unipic_serving::{Problems, Validate};

/// Keys that a tenant may have at once: the one in use and the one that is to follow it.
const KEYS_PER_TENANT: usize = 2;

/// Bytes of a tenant's name.
const TENANT_BYTES: usize = 64;

/// Who may call. While there are no keys, everybody who can connect may.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The keys; at most two that are valid for each tenant, so that one can replace the other without a gap.
    pub keys: Vec<KeyConfig>,
    /// Answer reflection without a key.
    pub open_reflection: bool,
}

/// One key, as `unipic key new` writes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Whose it is: letters, digits, `.`, `_` and `-`.
    pub tenant: String,
    /// SHA-256 of the key's text, in hex.
    pub sha256: String,
    /// When it ends, such as `2027-01-31T00:00:00Z`. Left out: never.
    #[serde(default)]
    pub not_after: Option<String>,
}

impl KeyConfig {
    /// The hash, where it is one.
    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        let text = self.sha256.as_bytes();
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(text.chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).ok()?;
            // `from_str_radix` would take a sign.
            *byte = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        }
        Some(hash)
    }

    /// The end, where there is one; `None` for a text that is no time.
    pub(super) fn end(&self) -> Option<Option<SystemTime>> {
        match &self.not_after {
            None => Some(None),
            Some(text) => humantime::parse_rfc3339(text).ok().map(Some),
        }
    }

    fn is_valid_at(&self, now: SystemTime) -> bool {
        self.end().is_none_or(|end| end.is_none_or(|end| now < end))
    }
}

impl Validate for AuthConfig {
    fn validate(&self, problems: &mut Problems) {
        let (mut valid, mut seen) = (BTreeMap::<&str, usize>::new(), BTreeSet::new());
        let now = SystemTime::now();
        for (index, key) in self.keys.iter().enumerate() {
            problems.section(&format!("keys.{index}"), key);
            if key.is_valid_at(now) {
                *valid.entry(&key.tenant).or_default() += 1;
            }
            if let Some(hash) = key.hash()
                && !seen.insert(hash)
            {
                problems.add(&format!("keys.{index}.sha256"), "is there twice: a key belongs to one tenant");
            }
        }
        for (tenant, n) in valid.into_iter().filter(|(_, n)| *n > KEYS_PER_TENANT) {
            problems.add("keys", format!("tenant {tenant:?} has {n} valid keys, of at most {KEYS_PER_TENANT}"));
        }
    }
}

impl Validate for KeyConfig {
    fn validate(&self, problems: &mut Problems) {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_named = (1..=TENANT_BYTES).contains(&self.tenant.len()) && self.tenant.bytes().all(is_name);
        problems.check(is_named, "tenant", "must be 1 to 64 letters, digits, `.`, `_` or `-`");
        // The value is not repeated: it may be a key in the place of its hash.
        problems.check(self.hash().is_some(), "sha256", "must be 64 hex digits, the SHA-256 of the key");
        problems.check(self.end().is_some(), "not_after", "must be a time such as 2027-01-31T00:00:00Z");
    }
}
