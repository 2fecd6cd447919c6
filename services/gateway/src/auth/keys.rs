//! Keys against calls.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use unipic_api::ApiError;
use unipic_serving::{Guard, Tenant};

use super::config::{AuthConfig, KeyConfig};

/// The header for clients that cannot set `authorization`.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What is answered without a key: orchestrators have none, and it tells only whether the process serves.
const OPEN: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];

/// What is answered without a key where the configuration says so.
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The configured keys. Clones share them.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    keys: Vec<Key>,
    /// Any are configured, usable or not: a key that is not understood must not open the door.
    is_required: bool,
    open_reflection: bool,
}

struct Key {
    tenant: Tenant,
    sha256: [u8; 32],
    end: Option<SystemTime>,
}

impl Key {
    fn read(config: &KeyConfig) -> Option<Self> {
        let tenant = Tenant::named(&config.tenant);
        Some(Self { tenant, sha256: config.hash()?, end: config.end()? })
    }
}

impl Keys {
    /// The keys of a validated configuration; one that is not understood lets nobody in.
    pub fn new(config: &AuthConfig) -> Self {
        let keys = config.keys.iter().filter_map(Key::read).collect();
        let (is_required, open_reflection) = (!config.keys.is_empty(), config.open_reflection);
        Self(Arc::new(Inner { keys, is_required, open_reflection }))
    }

    /// True when calls need a key.
    pub fn is_required(&self) -> bool {
        self.0.is_required
    }

    /// Whose key these headers carry: `authorization: Bearer KEY`, or `x-api-key: KEY` where there is no `authorization`.
    ///
    /// # Errors
    /// UNAUTHENTICATED when there is none, it is unknown or its time is over. Which of them is not told.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Tenant, ApiError> {
        self.authenticate_at(headers, SystemTime::now())
    }

    fn authenticate_at(&self, headers: &HeaderMap, now: SystemTime) -> Result<Tenant, ApiError> {
        let key = presented(headers).and_then(|text| self.find(text)).ok_or(ApiError::Unauthenticated)?;
        if key.end.is_some_and(|end| end <= now) {
            // Only its owner can come here, and will ask why.
            tracing::info!(tenant = key.tenant.as_str(), "a key whose time is over was used");
            return Err(ApiError::Unauthenticated);
        }
        Ok(key.tenant.clone())
    }

    /// The key of this text. Every one is looked at, in a time that does not depend on where hashes differ.
    fn find(&self, text: &str) -> Option<&Key> {
        let sha256: [u8; 32] = Sha256::digest(text).into();
        self.0.keys.iter().fold(None, |found, key| match bool::from(key.sha256.ct_eq(&sha256)) {
            true => Some(key),
            false => found,
        })
    }

    /// True for a gRPC path that needs no key.
    fn is_open(&self, path: &str) -> bool {
        OPEN.contains(&path) || (self.0.open_reflection && REFLECTION.contains(&path))
    }

    /// Lets a call in: puts its [`Tenant`] among the extensions and takes the key out of the headers.
    ///
    /// # Errors
    /// As [`Keys::authenticate`].
    pub(crate) fn admit(&self, call: &mut Parts, is_open: bool) -> Result<(), ApiError> {
        if self.0.is_required && !is_open {
            let tenant = self.authenticate(&call.headers)?;
            call.extensions.insert(tenant);
        }
        call.headers.remove(AUTHORIZATION);
        call.headers.remove(API_KEY);
        Ok(())
    }
}

impl Guard for Keys {
    fn admit(&self, call: &mut Parts) -> Result<(), ApiError> {
        let is_open = self.is_open(call.uri.path());
        self.admit(call, is_open)
    }
}

/// The numbers, not the hashes.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("keys", &self.0.keys.len()).field("is_required", &self.0.is_required).finish()
    }
}

/// The key that the headers carry. Two at once are none: a proxy might have looked at the other one.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let only = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?;
        values.next().is_none().then_some(value)?.to_str().ok()
    };
    if headers.contains_key(AUTHORIZATION) {
        let (scheme, key) = only(AUTHORIZATION)?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim());
    }
    only(API_KEY).map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::NewKey;

    fn keys(entries: &[(&str, &NewKey, Option<&str>)]) -> Keys {
        let entry = |(tenant, key, end): &(&str, &NewKey, Option<&str>)| KeyConfig {
            tenant: (*tenant).to_owned(),
            sha256: key.sha256.clone(),
            not_after: end.map(str::to_owned),
        };
        Keys::new(&AuthConfig { keys: entries.iter().map(entry).collect(), ..AuthConfig::default() })
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    fn bearer(key: &str) -> HeaderMap {
        headers(&[("authorization", &format!("Bearer {key}"))])
    }

    #[test]
    fn keys_are_random_and_hashed_as_said() {
        let (one, two) = (NewKey::random().unwrap(), NewKey::random().unwrap());
        assert!(one.key != two.key && one.key.starts_with("unipic_") && one.key.len() == 7 + 64);
        let known = KeyConfig { tenant: "a".into(), sha256: one.sha256.clone(), not_after: None };
        assert_eq!(known.hash().unwrap(), <[u8; 32]>::from(Sha256::digest(&one.key)));
    }

    #[test]
    fn a_right_key_is_its_tenant_and_every_other_is_nobody() {
        let (old, new, other) = (NewKey::random().unwrap(), NewKey::random().unwrap(), NewKey::random().unwrap());
        let keys = keys(&[("acme", &old, None), ("acme", &new, None), ("zeta", &other, None)]);
        for (key, tenant) in [(&old, "acme"), (&new, "acme"), (&other, "zeta")] {
            assert_eq!(keys.authenticate(&bearer(&key.key)).unwrap().as_str(), tenant);
            assert_eq!(keys.authenticate(&headers(&[("x-api-key", &key.key)])).unwrap().as_str(), tenant);
            assert_eq!(
                keys.authenticate(&headers(&[("authorization", &format!("bearer {}", key.key))])).unwrap().as_str(),
                tenant
            );
        }
        let right = old.key.as_str();
        let wrong = [
            headers(&[]),
            bearer(""),
            bearer(&right[..right.len() - 1]),
            bearer(&format!("{right}0")),
            bearer(&right.to_uppercase()),
            // The hash is no key.
            bearer(&old.sha256),
            headers(&[("authorization", right)]),
            headers(&[("authorization", &format!("Basic {right}"))]),
            headers(&[("authorization", &format!("Bearer {right}")), ("authorization", &format!("Bearer {right}"))]),
            headers(&[("authorization", "Bearer x"), ("x-api-key", right)]),
            headers(&[("x-api-key", "x")]),
        ];
        for headers in wrong {
            assert!(matches!(keys.authenticate(&headers), Err(ApiError::Unauthenticated)));
        }
    }

    #[test]
    fn a_key_ends_when_it_is_said_to() {
        let (old, new) = (NewKey::random().unwrap(), NewKey::random().unwrap());
        let keys = keys(&[("acme", &old, Some("2027-01-31T00:00:00Z")), ("acme", &new, None)]);
        let end = humantime::parse_rfc3339("2027-01-31T00:00:00Z").unwrap();
        let at = |key: &NewKey, now| keys.authenticate_at(&bearer(&key.key), now).is_ok();
        assert!(at(&old, end - Duration::from_secs(1)) && at(&new, end - Duration::from_secs(1)));
        assert!(!at(&old, end) && at(&new, end));
    }

    #[test]
    fn a_key_that_is_not_understood_opens_nothing() {
        let entry = KeyConfig { tenant: "acme".into(), sha256: "short".into(), not_after: None };
        let keys = Keys::new(&AuthConfig { keys: vec![entry], ..AuthConfig::default() });
        assert!(keys.is_required());
        assert!(keys.authenticate(&bearer("short")).is_err());
    }
}
