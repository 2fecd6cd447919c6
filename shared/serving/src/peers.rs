//! Which identities may call which methods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use http::request::Parts;
use prost::Message;
use prost_types::FileDescriptorSet;
use unipic_api::ApiError;
use unipic_tls::{IdentityPattern, PeerIdentity, ServerTlsConfig};

/// Health is asked by orchestrators and balancers, tells nothing, and is answered to whoever has a certificate.
const OPEN: &str = "grpc.health.v1.Health/";

/// The rules of a server that knows its peers.
#[derive(Debug)]
pub(crate) struct Peers {
    allowed: Vec<IdentityPattern>,
    by_method: BTreeMap<String, Vec<IdentityPattern>>,
}

impl Peers {
    /// The configured rules; `None` where there are none, and every peer of the authority may call everything.
    pub(crate) fn new(config: &ServerTlsConfig) -> Option<Arc<Self>> {
        let has_rules = !config.allowed.is_empty() || !config.allowed_methods.is_empty();
        let rules = || Self { allowed: config.allowed.clone(), by_method: config.allowed_methods.clone() };
        has_rules.then(|| Arc::new(rules()))
    }

    /// Lets a call in whose peer is allowed the method.
    pub(crate) fn admit(&self, call: &Parts) -> Result<(), ApiError> {
        let method = call.uri.path().trim_start_matches('/');
        let is_allowed = match call.extensions.get::<PeerIdentity>() {
            Some(_) if method.starts_with(OPEN) => true,
            Some(peer) => peer.is_among(self.rule(method)),
            None => false,
        };
        if is_allowed {
            return Ok(());
        }
        tracing::info!(method, peer = ?call.extensions.get::<PeerIdentity>(), "a peer may not call this method");
        Err(ApiError::PermissionDenied("this client's certificate does not give access to this method".to_owned()))
    }

    /// True for a peer that may connect where there are no methods to tell apart.
    pub(crate) fn let_in(&self, peer: Option<&PeerIdentity>) -> bool {
        peer.is_some_and(|peer| peer.is_among(&self.allowed))
    }

    /// Who may call a method. With rules for methods only, the others are nobody's.
    fn rule(&self, method: &str) -> &[IdentityPattern] {
        let service = || method.split_once('/').and_then(|(service, _)| self.by_method.get(&format!("{service}/*")));
        self.by_method.get(method).or_else(service).unwrap_or(&self.allowed)
    }
}

/// True when `method` is a method of ours, of health or of reflection, or all of such a service.
pub(crate) fn is_known(method: &str) -> bool {
    static KNOWN: OnceLock<BTreeSet<String>> = OnceLock::new();
    KNOWN.get_or_init(known).contains(method)
}

fn known() -> BTreeSet<String> {
    let sets = [
        unipic_api::pb::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()).flat_map(|set| set.file);
    let mut known = BTreeSet::new();
    for file in files {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            known.extend(service.method.iter().map(|method| format!("{name}/{}", method.name())));
            known.insert(format!("{name}/*"));
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_by_their_descriptors() {
        for method in ["unipic.v1.UniPic/Generate", "unipic.v1.Decoder/*", "grpc.health.v1.Health/Check"] {
            assert!(is_known(method), "{method}");
        }
        for method in ["", "*", "UniPic/Generate", "unipic.v1.UniPic/Draw", "/unipic.v1.UniPic/Generate"] {
            assert!(!is_known(method), "{method}");
        }
    }

    #[test]
    fn the_more_exact_rule_holds() {
        let rule = |text: &str| vec![text.parse::<IdentityPattern>().unwrap()];
        let methods = [("a.B/C", "spiffe://u/exact"), ("a.B/*", "spiffe://u/service")];
        let by_method = methods.iter().map(|(method, who)| ((*method).to_owned(), rule(who))).collect();
        let peers = Peers { allowed: rule("spiffe://u/any"), by_method };
        for (method, who) in [("a.B/C", "exact"), ("a.B/D", "service"), ("a.X/C", "any"), ("", "any")] {
            assert_eq!(peers.rule(method), rule(&format!("spiffe://u/{who}")), "{method}");
        }
    }
}
