//! Every container is probed, bounded and locked up, and all run one version.

use serde_json::{Value, json};

use crate::objects::{Objects, Problems, containers, pod, ports};
use crate::yaml::text;

/// The tag of every image: this version.
const TAG: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn check(objects: &Objects, problems: &mut Problems) {
    problems.check(objects.of("Deployment").next().is_some(), &Value::Null, "there is no Deployment");
    for deployment in objects.of("Deployment") {
        let pod = pod(deployment);
        let expected = json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" },
        });
        problems.check(pod["securityContext"] == expected, deployment, "its pods' security context is not ours");
        let (links, token) = (&pod["enableServiceLinks"], &pod["automountServiceAccountToken"]);
        problems.check(links == false, deployment, "Services' variables would be taken for settings");
        problems.check(token == false, deployment, "its pods are given a token that they do not need");
        let strategy = json!({ "maxSurge": 1, "maxUnavailable": 0 });
        let is_gentle = deployment["spec"]["strategy"]["rollingUpdate"] == strategy;
        problems.check(is_gentle, deployment, "a rollout takes pods away before others are ready");
        problems.check(!containers(deployment).is_empty(), deployment, "has no containers");
        for container in containers(deployment) {
            check_container(container, deployment, problems);
        }
    }
}

fn check_container(container: &Value, deployment: &Value, problems: &mut Problems) {
    let (image, tag) = text(container, "/image").split_once(':').unwrap_or_default();
    let is_ours = ["unipic", "unipic-cuda"].contains(&image) && tag == TAG;
    problems.check(is_ours, deployment, format!("its image {} is not of version {TAG}", container["image"]));
    let expected = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
    });
    problems.check(
        container["securityContext"] == expected,
        deployment,
        "its container's security context is not ours",
    );
    for place in ["/resources/requests/cpu", "/resources/requests/memory", "/resources/limits/memory"] {
        problems.check(container.pointer(place).is_some(), deployment, format!("its container lacks {place}"));
    }
    let bytes = |place| container.pointer(place).and_then(Value::as_str).and_then(bytes);
    let is_room = bytes("/resources/requests/memory") <= bytes("/resources/limits/memory");
    problems.check(is_room, deployment, "asks for more memory than its limit");
    for port in ["grpc", "metrics"] {
        problems.check(ports(container).contains_key(port), deployment, format!("its container has no port `{port}`"));
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        problems.check(is_probe(container, &container[probe]), deployment, format!("its {probe} asks nobody"));
    }
    let patience = |probe: &str| {
        container[probe]["failureThreshold"].as_u64().unwrap_or(0)
            * container[probe]["periodSeconds"].as_u64().unwrap_or(0)
    };
    problems.check(patience("startupProbe") >= 60, deployment, "its startupProbe gives it less than a minute");
    let is_patient = patience("livenessProbe") > patience("readinessProbe");
    problems.check(is_patient, deployment, "it is killed before it is taken out of service");
}

/// Asks our health service on a port that the container has; where that wants certificates, the operators' port.
fn is_probe(container: &Value, probe: &Value) -> bool {
    let ports = ports(container);
    match (probe.get("grpc"), probe.get("httpGet")) {
        (Some(asked), None) => asked["port"].is_u64() && asked["port"].as_u64() == ports.get("grpc").copied(),
        (None, Some(asked)) => {
            asked["port"] == "metrics"
                && ports.contains_key("metrics")
                && (asked["path"] == "/readyz" || asked["path"] == "/healthz")
        }
        _ => false,
    }
}

/// A quantity of memory such as `256Mi`, in bytes.
fn bytes(quantity: &str) -> Option<u64> {
    let (number, unit) = quantity.split_at(quantity.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit {
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit)
}
