//! On whose behalf a request is made.

use std::sync::Arc;

/// The name of a tenant: whose limits a request counts against. Whatever checks credentials puts it among a request's
/// extensions; it is never read from what a caller can write.
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
