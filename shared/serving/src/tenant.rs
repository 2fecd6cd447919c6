//! On whose behalf a request is made.

use std::sync::Arc;

use tonic::metadata::MetadataMap;

/// The key of a tenant's name in the metadata of calls between services.
const METADATA: &str = "unipic-tenant";

/// The longest name that is taken from metadata, in bytes; no configuration has a longer one.
const MAX_BYTES: usize = 64;

/// The name of a tenant: whose limits a request counts against, and with whom it shares the devices evenly. Whatever checks
/// credentials puts it among a request's extensions; the public services never read it from what a caller can write.
/// Services behind the gateway, which only their peers can call, are told it by those.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// A tenant of that name.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// The tenant among a request's extensions; the default one where nobody said.
    pub fn among(extensions: &http::Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// The tenant that a peer of ours says it calls for; the default one where it does not say, or nothing sensible. Only for
    /// services that nobody else can call.
    pub fn told(metadata: &MetadataMap) -> Self {
        let name = metadata.get(METADATA).and_then(|value| value.to_str().ok());
        name.filter(|name| (1..=MAX_BYTES).contains(&name.len())).map_or_else(Self::default, Self::named)
    }

    /// Says for whom a service behind this one is called. A name that metadata cannot hold is not said.
    pub fn tell(&self, metadata: &mut MetadataMap) {
        if let Ok(value) = self.0.parse() {
            metadata.insert(METADATA, value);
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    /// The one tenant of a server that knows no others: `default`.
    fn default() -> Self {
        Self::named("default")
    }
}

impl From<Tenant> for Arc<str> {
    fn from(tenant: Tenant) -> Self {
        tenant.0
    }
}

impl From<Arc<str>> for Tenant {
    fn from(name: Arc<str>) -> Self {
        Self(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_tells_for_whom_it_calls() {
        let mut metadata = MetadataMap::new();
        assert_eq!(Tenant::told(&metadata), Tenant::default());
        Tenant::named("acme-2").tell(&mut metadata);
        assert_eq!(Tenant::told(&metadata), Tenant::named("acme-2"));
        for odd in ["", &"x".repeat(65)] {
            metadata.insert(METADATA, odd.parse().unwrap());
            assert_eq!(Tenant::told(&metadata), Tenant::default());
        }
        let mut metadata = MetadataMap::new();
        Tenant::named("a\nb").tell(&mut metadata);
        assert_eq!(Tenant::told(&metadata), Tenant::default(), "what no header can hold is not sent");
    }
}
