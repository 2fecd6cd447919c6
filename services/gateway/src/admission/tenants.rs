//! What each tenant may use, and what it has used.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use unipic_api::ApiError;
use unipic_serving::Tenant;

use crate::config::{QuotaConfig, TenantsConfig};

/// Tenants that are remembered; beyond, those who hold nothing and have used nothing are forgotten.
const REMEMBERED: usize = 1024;

/// When a tenant with too many requests may look again: nobody knows when one of them ends.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Tenants {
    config: TenantsConfig,
    used: HashMap<Tenant, Used>,
}

#[derive(Debug)]
struct Used {
    concurrent: usize,
    requests: Bucket,
    pixels: Bucket,
}

impl Tenants {
    pub(super) fn new(config: TenantsConfig) -> Self {
        Self { config, used: HashMap::new() }
    }

    /// Takes a request's share of all limits, or nothing of any.
    pub(super) fn take(&mut self, tenant: &Tenant, pixels: u64, now: Instant) -> Result<(), ApiError> {
        self.check(tenant, pixels, now)?;
        let quota = self.config.quota(tenant.as_str());
        if let Some(used) = self.used.get_mut(tenant) {
            used.requests.take(1.0, quota.requests());
            used.pixels.take(pixels as f64, quota.pixels());
            used.concurrent += 1;
        }
        Ok(())
    }

    /// Whether a request's share could be taken now.
    pub(super) fn check(&mut self, tenant: &Tenant, pixels: u64, now: Instant) -> Result<(), ApiError> {
        if self.used.len() >= REMEMBERED {
            let config = &self.config;
            self.used.retain(|tenant, used| used.is_in_use(config.quota(tenant.as_str()), now));
        }
        let quota = self.config.quota(tenant.as_str());
        let used = self.used.entry(tenant.clone()).or_insert_with(|| Used::new(quota, now));
        let exceeded = |description: String, retry_after: Duration| {
            let subject = format!("tenant:{}", tenant.as_str());
            Err(ApiError::QuotaExceeded { subject, description, retry_after })
        };
        if let Some(most) = quota.max_concurrent.filter(|most| used.concurrent >= *most) {
            return exceeded(format!("{most} requests at the same time, waiting ones included"), LOOK_AGAIN);
        }
        let (requests, area) = (quota.requests(), quota.pixels());
        if let Some(wait) = used.requests.wait(1.0, requests, now) {
            return exceeded(format!("{} requests a second", requests.per_second), wait);
        }
        if let Some(wait) = used.pixels.wait(pixels as f64, area, now) {
            return exceeded(format!("{} pixels a minute", area.most), wait);
        }
        Ok(())
    }

    /// A request has ended, or left the queue.
    pub(super) fn leave(&mut self, tenant: &Tenant) {
        if let Some(used) = self.used.get_mut(tenant) {
            used.concurrent = used.concurrent.saturating_sub(1);
        }
    }
}

impl Used {
    fn new(quota: &QuotaConfig, now: Instant) -> Self {
        let (requests, pixels) = (Bucket::full(quota.requests(), now), Bucket::full(quota.pixels(), now));
        Self { concurrent: 0, requests, pixels }
    }

    fn is_in_use(&mut self, quota: &QuotaConfig, now: Instant) -> bool {
        let (requests, pixels) = (quota.requests(), quota.pixels());
        let full = self.requests.wait(requests.most, requests, now).is_none()
            && self.pixels.wait(pixels.most, pixels, now).is_none();
        self.concurrent > 0 || !full
    }
}

/// A limit on a rate; infinite where there is none.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// What may be used at once after a pause.
    most: f64,
    per_second: f64,
}

impl Rate {
    const UNLIMITED: Self = Self { most: f64::INFINITY, per_second: f64::INFINITY };
}

impl QuotaConfig {
    fn requests(&self) -> Rate {
        self.requests_per_second.map_or(Rate::UNLIMITED, |rate| Rate { most: rate.max(1.0), per_second: rate })
    }

    fn pixels(&self) -> Rate {
        let of = |most: u64| Rate { most: most as f64, per_second: most as f64 / 60.0 };
        self.pixels_per_minute.map_or(Rate::UNLIMITED, of)
    }
}

/// What is left of a rate.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.most, at: now }
    }

    /// Time until `amount` may be used; none when it may be now. More than fits at once may be used when all is there.
    fn wait(&mut self, amount: f64, rate: Rate, now: Instant) -> Option<Duration> {
        if rate.most.is_infinite() {
            return None;
        }
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate.per_second).min(rate.most);
        self.at = self.at.max(now);
        let missing = amount.min(rate.most) - self.left;
        // What is missing by rounding is not missing.
        (missing > 1e-6).then(|| Duration::from_secs_f64((missing / rate.per_second).min(3600.0)))
    }

    fn take(&mut self, amount: f64, rate: Rate) {
        self.left -= amount.min(rate.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(default: QuotaConfig) -> Tenants {
        let named = [("big".to_owned(), QuotaConfig::default())].into();
        Tenants::new(TenantsConfig { default, named })
    }

    fn wait(result: Result<(), ApiError>) -> Option<f64> {
        match result {
            Ok(()) => None,
            Err(ApiError::QuotaExceeded { retry_after, .. }) => Some(retry_after.as_secs_f64()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn rates_are_held_per_tenant_and_say_when_to_come_back() {
        let quota = QuotaConfig { requests_per_second: Some(2.0), ..QuotaConfig::default() };
        let (mut tenants, now) = (tenants(quota), Instant::now());
        let (a, b, big) = (Tenant::named("a"), Tenant::named("b"), Tenant::named("big"));
        assert_eq!(wait(tenants.take(&a, 0, now)), None);
        assert_eq!(wait(tenants.take(&a, 0, now)), None);
        let half = wait(tenants.take(&a, 0, now)).unwrap();
        assert_eq!(wait(tenants.check(&a, 0, now)), Some(half));
        assert_eq!(wait(tenants.check(&b, 0, now)), None, "a look uses nothing up");
        assert_eq!(wait(tenants.check(&b, 0, now)), None);
        assert_eq!(wait(tenants.take(&b, 0, now)), None);
        assert!((half - 0.5).abs() < 1e-6, "{half}");
        assert_eq!(wait(tenants.take(&b, 0, now)), None, "another tenant is another matter");
        assert!((0..100).all(|_| tenants.take(&big, 0, now).is_ok()), "one with limits of its own: none");
        assert_eq!(wait(tenants.take(&a, 0, now + Duration::from_millis(500))), None);
    }

    #[test]
    fn pixels_are_counted_by_the_minute_and_a_larger_picture_needs_a_whole_one() {
        let quota = QuotaConfig { pixels_per_minute: Some(600), ..QuotaConfig::default() };
        let (mut tenants, now, a) = (tenants(quota), Instant::now(), Tenant::named("a"));
        assert_eq!(wait(tenants.take(&a, 400, now)), None);
        assert!((wait(tenants.take(&a, 300, now)).unwrap() - 10.0).abs() < 1e-6);
        assert_eq!(wait(tenants.take(&a, 200, now)), None, "what was refused has used nothing");
        assert!((wait(tenants.take(&a, 10_000, now)).unwrap() - 60.0).abs() < 1e-6);
        assert_eq!(wait(tenants.take(&a, 10_000, now + Duration::from_secs(60))), None);
    }

    #[test]
    fn tenants_who_hold_nothing_are_forgotten() {
        let (mut tenants, now) = (tenants(QuotaConfig::default()), Instant::now());
        let held = Tenant::named("held");
        tenants.take(&held, 0, now).unwrap();
        for index in 0..5000 {
            let tenant = Tenant::named(&index.to_string());
            tenants.take(&tenant, 0, now).unwrap();
            tenants.leave(&tenant);
        }
        assert!(tenants.used.len() <= REMEMBERED && tenants.used.contains_key(&held));
    }
}
