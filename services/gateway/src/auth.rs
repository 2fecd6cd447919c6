//! Who calls: keys, and the tenants they stand for.
//!
//! The configuration holds SHA-256 hashes, never keys, so a leaked file lets nobody in. A plain hash is enough because keys
//! are 256 random bits (`unipic key new` makes them): there is no dictionary to try. As soon as one key is configured,
//! everything is refused that comes without one, methods that do not exist included; what is open is a
//! closed list. A key's tenant goes with the request as [`unipic_serving::Tenant`], whose quota it counts against.

mod config;
mod key;
mod keys;

pub use config::{AuthConfig, KeyConfig};
pub use key::{NewKey, NoRandomness};
pub use keys::Keys;
