//! How many requests run and wait, and what of it a tenant may have.

use std::collections::BTreeMap;

use serde::Deserialize;
use unipic_serving::{Problems, Validate};

/// How many requests run and wait.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Requests that run at once. So that one tenant's crowd does not keep another out, a tenant of whose requests none runs
    /// may begin one beyond that: a quarter as many at most, and one at least.
    pub max_running: usize,
    /// What those who run may cost together, in positions that pass through the language model: for images their places ×
    /// iterations × images, twice with guidance; for answers the prompt and the tokens asked for. One that costs more
    /// runs alone.
    pub max_running_cost: u64,
    /// Requests that may wait; one more is refused, but for a quarter as many of tenants of whom nothing runs or waits.
    pub max_queued: usize,
}

impl AdmissionConfig {
    /// Requests that run at once at the most, those of tenants who found all places taken by others included.
    #[must_use]
    pub fn most_running(&self) -> usize {
        self.max_running.saturating_add((self.max_running / 4).max(1))
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        // Eight images of 1024×1024 px, each of 4096 places in 32 iterations with guidance, and as much again.
        Self { max_running: 8, max_running_cost: 1 << 22, max_queued: 64 }
    }
}

/// What each tenant may use, by name. `default` is for all that are not named; one that is named has only the limits that
/// stand there.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(from = "BTreeMap<String, QuotaConfig>")]
pub struct TenantsConfig {
    /// For all that are not named.
    pub default: QuotaConfig,
    /// For those that are.
    pub named: BTreeMap<String, QuotaConfig>,
}

impl From<BTreeMap<String, QuotaConfig>> for TenantsConfig {
    fn from(mut named: BTreeMap<String, QuotaConfig>) -> Self {
        Self { default: named.remove("default").unwrap_or_default(), named }
    }
}

impl TenantsConfig {
    /// The limits of a tenant.
    #[must_use]
    pub fn quota(&self, tenant: &str) -> &QuotaConfig {
        self.named.get(tenant).unwrap_or(&self.default)
    }
}

/// What one tenant may use. A limit left out is none.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaConfig {
    /// Requests a second; after a pause, those of one second at once.
    pub requests_per_second: Option<f64>,
    /// Requests at the same time, waiting ones included.
    pub max_concurrent: Option<usize>,
    /// Pixels drawn in a minute; after a pause, those of one minute at once.
    pub pixels_per_minute: Option<u64>,
}

impl Validate for AdmissionConfig {
    fn validate(&self, problems: &mut Problems) {
        // Tokio's semaphore ends somewhere beyond; nobody runs as many.
        const MOST: usize = 1_000_000;
        problems.check((1..=MOST).contains(&self.max_running), "max_running", "must be from 1 to 1000000");
        problems.check(self.max_running_cost > 0, "max_running_cost", "must be at least 1");
        problems.check(self.max_queued <= MOST, "max_queued", "must be at most 1000000");
    }
}

impl Validate for TenantsConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.section("default", &self.default);
        for (name, quota) in &self.named {
            problems.section(name, quota);
        }
    }
}

impl Validate for QuotaConfig {
    fn validate(&self, problems: &mut Problems) {
        let rate = self.requests_per_second.is_none_or(|rate| (1e-3..=1e6).contains(&rate));
        problems.check(rate, "requests_per_second", "must be from 0.001 to 1000000");
        problems.check(self.max_concurrent != Some(0), "max_concurrent", "must be at least 1");
        problems.check(self.pixels_per_minute != Some(0), "pixels_per_minute", "must be at least 1");
    }
}
