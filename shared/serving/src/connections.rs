//! How many connections there may be, whose, and for how long without a call.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use crate::config::{Problems, Validate};

/// Connections at once; further ones are closed as they come.
pub(crate) const MAX_CONNECTIONS: usize = 4096;

/// What an operator chooses about the connections of a listener, so that one client cannot lock out the others.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionsConfig {
    /// Seconds after which a gRPC connection without a call is closed; a health watch is a call. Clients connect again by
    /// themselves.
    pub idle_seconds: f64,
    /// Connections at once from one address (of IPv6, from one /64 network), a quarter of all by default. Behind a proxy that
    /// hides its clients' addresses they all come from the proxy's: set 4096, which is all there are. Unix sockets have no
    /// addresses and are not counted.
    pub max_per_address: usize,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        Self { idle_seconds: 300.0, max_per_address: MAX_CONNECTIONS / 4 }
    }
}

impl Validate for ConnectionsConfig {
    fn validate(&self, problems: &mut Problems) {
        let is_right = self.idle_seconds > 0.0 && self.idle_seconds <= 86_400.0;
        problems.check(is_right, "idle_seconds", "must be above 0 and at most 86400");
        let is_right = (1..=MAX_CONNECTIONS).contains(&self.max_per_address);
        problems.check(is_right, "max_per_address", format!("must be from 1 to {MAX_CONNECTIONS}"));
    }
}

impl ConnectionsConfig {
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs_f64(self.idle_seconds)
    }
}

/// Who is connected to a listener. Clones share the count.
#[derive(Debug, Clone)]
pub(crate) struct Census {
    most: usize,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Census {
    pub(crate) fn new(config: &ConnectionsConfig) -> Self {
        Self { most: config.max_per_address, by_address: Arc::default() }
    }

    /// Counts one more from `address` for as long as the result lives; `None` where it has its share.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Entry> {
        let network = network(address);
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_address.entry(network).or_default();
        if *open >= self.most {
            return None;
        }
        *open += 1;
        Some(Entry { census: self.clone(), network })
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub(crate) struct Entry {
    census: Census,
    network: IpAddr,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut by_address = self.census.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_address.get_mut(&self.network) {
            *open -= 1;
            // Else the map would remember everybody who ever called.
            if *open == 0 {
                by_address.remove(&self.network);
            }
        }
    }
}

/// What one client has: an address, or the network of IPv6 in which it may pick as many as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let census = Census::new(&ConnectionsConfig { max_per_address: 2, ..ConnectionsConfig::default() });
        let enter = |address: &str| census.enter(address.parse().unwrap());
        let held = [enter("10.0.0.1").unwrap(), enter("::ffff:10.0.0.1").unwrap()];
        assert!(enter("10.0.0.1").is_none());
        let held_by_others = [enter("10.0.0.2"), enter("2001:db8::1"), enter("2001:db8::2:0:0:1")];
        assert!(held_by_others.iter().all(Option::is_some));
        assert!(enter("2001:db8::3").is_none(), "the third in 2001:db8::/64");
        drop(held);
        assert!(enter("10.0.0.1").is_some());
        drop(held_by_others);
        assert!(census.by_address.lock().unwrap().is_empty());
    }
}
