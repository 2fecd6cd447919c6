//! What the NetworkPolicies let through, worked out pod by pod, must be the call graph and nothing else.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::objects::{Objects, Problems, component, containers, matches, pod_labels, ports};
use crate::yaml::list;

/// Who calls whom.
pub(crate) const CALLS: [(&str, &str); 4] =
    [("gateway", "understanding"), ("gateway", "synthesis"), ("gateway", "decoder"), ("synthesis", "decoder")];

/// Components that the world may call.
const PUBLIC: [&str; 2] = ["gateway", "node"];

pub(crate) fn check(objects: &Objects, problems: &mut Problems) {
    let pods: Vec<&Value> = objects.of("Deployment").collect();
    for (direction, key) in [("Ingress", "ingress"), ("Egress", "egress")] {
        for pod in &pods {
            let is_closed = policies(objects, pod, direction).next().is_some();
            problems.check(is_closed, pod, format!("no policy restricts its {key}"));
        }
    }
    for caller in &pods {
        for callee in &pods {
            let expected = if CALLS.contains(&(component(caller), component(callee))) { grpc(callee) } else { None };
            let allowed: BTreeSet<u64> =
                let_out(objects, caller, callee).intersection(&let_in(objects, caller, callee)).copied().collect();
            let is_right = allowed == expected.into_iter().collect();
            let problem = format!("may call {} on {allowed:?}, not {expected:?}", component(callee));
            problems.check(is_right, caller, problem);
            // An edge that only one end allows works as little as it tells the truth.
            let half = let_out(objects, caller, callee) != let_in(objects, caller, callee);
            problems.check(
                !half,
                caller,
                format!("one end allows calls to {} and the other does not", component(callee)),
            );
        }
    }
    for pod in &pods {
        strangers(objects, pod, problems);
    }
}

fn grpc(deployment: &Value) -> Option<u64> {
    containers(deployment).first().and_then(|container| ports(container).get("grpc").copied())
}

/// The policies that say something about a pod's `direction`.
fn policies<'a>(objects: &'a Objects, pod: &'a Value, direction: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.of("NetworkPolicy").filter(move |policy| {
        let selects = matches(&policy["spec"]["podSelector"]["matchLabels"], pod_labels(pod));
        selects && list(policy, "/spec/policyTypes").iter().any(|kind| kind == direction)
    })
}

/// The rules for a pod: peers of one kind, and the ports they may use.
fn rules<'a>(
    objects: &'a Objects,
    pod: &'a Value,
    direction: &'a str,
) -> impl Iterator<Item = (&'a Value, BTreeSet<u64>)> {
    let (key, peers) = if direction == "Ingress" { ("/spec/ingress", "/from") } else { ("/spec/egress", "/to") };
    policies(objects, pod, direction).flat_map(move |policy| list(policy, key)).flat_map(move |rule| {
        let ports: BTreeSet<u64> = list(rule, "/ports").iter().filter_map(|port| port["port"].as_u64()).collect();
        list(rule, peers).iter().map(move |peer| (peer, ports.clone()))
    })
}

fn between(objects: &Objects, here: &Value, there: &Value, direction: &str) -> BTreeSet<u64> {
    let is_peer = |peer: &Value| {
        let selector = peer.get("podSelector").filter(|_| peer.get("namespaceSelector").is_none());
        selector.is_some_and(|selector| matches(&selector["matchLabels"], pod_labels(there)))
    };
    rules(objects, here, direction).filter(|(peer, _)| is_peer(peer)).flat_map(|(_, ports)| ports).collect()
}

fn let_out(objects: &Objects, caller: &Value, callee: &Value) -> BTreeSet<u64> {
    between(objects, caller, callee, "Egress")
}

fn let_in(objects: &Objects, caller: &Value, callee: &Value) -> BTreeSet<u64> {
    between(objects, callee, caller, "Ingress")
}

/// Peers in other namespaces: the names' server, the scraper, and callers of the public service.
fn strangers(objects: &Objects, pod: &Value, problems: &mut Problems) {
    let namespace = |name: &str| json!({ "matchLabels": { "kubernetes.io/metadata.name": name } });
    let resolver = json!({
        "namespaceSelector": namespace("kube-system"), "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } },
    });
    let scraper = json!({ "namespaceSelector": namespace("monitoring") });
    let callers = json!({ "namespaceSelector": { "matchLabels": { "unipic/client": "true" } } });
    let port = |name: &str| containers(pod).iter().filter_map(|c| ports(c).get(name).copied()).collect::<BTreeSet<_>>();

    let mut expected = vec![("Egress", resolver, BTreeSet::from([53])), ("Ingress", scraper, port("metrics"))];
    if PUBLIC.contains(&component(pod)) {
        expected.push(("Ingress", callers, port("grpc")));
    }
    let found = ["Ingress", "Egress"].into_iter().flat_map(|direction| {
        let outside = rules(objects, pod, direction).filter(|(peer, _)| peer.get("namespaceSelector").is_some());
        outside.map(move |(peer, ports)| (direction, peer.clone(), ports))
    });
    let found: Vec<_> = found.collect();
    for rule in &found {
        problems.check(expected.contains(rule), pod, format!("{} is open to {} on {:?}", rule.0, rule.1, rule.2));
    }
    for rule in &expected {
        problems.check(found.contains(rule), pod, format!("{} is closed to {} on {:?}", rule.0, rule.1, rule.2));
    }
    // A rule without peers lets everybody through.
    for policy in objects.of("NetworkPolicy") {
        let open = |key, peers| {
            list(policy, key).iter().any(|rule| list(rule, peers).is_empty() || list(rule, "/ports").is_empty())
        };
        let is_open = open("/spec/ingress", "/from") || open("/spec/egress", "/to");
        problems.check(!is_open, policy, "a rule lets everybody through");
    }
}
