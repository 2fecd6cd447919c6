//! What an object names must be there: pods behind selectors, targets of autoscalers, ports, volumes.

use serde_json::Value;

use crate::objects::{Objects, Problems, containers, matches, pod, pod_labels, ports};
use crate::yaml::{list, text};

/// Volumes that the operator provides and no manifest can: certificates.
const SECRETS_END: &str = "-tls";

pub(crate) fn check(objects: &Objects, problems: &mut Problems) {
    for deployment in objects.of("Deployment") {
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        let is_own = !selector.is_null() && matches(selector, pod_labels(deployment));
        problems.check(is_own, deployment, "its selector does not match its own pods");
        problems.check(objects.selected(selector).len() == 1, deployment, "its selector matches others' pods");
        for constraint in list(pod(deployment), "/topologySpreadConstraints") {
            let selector = &constraint["labelSelector"]["matchLabels"];
            problems.check(
                selector == &deployment["spec"]["selector"]["matchLabels"],
                deployment,
                "spreads other pods",
            );
        }
        volumes(objects, deployment, problems);
        for kind in ["Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"] {
            let name = text(deployment, "/metadata/name");
            problems.check(objects.find(kind, name).is_some(), deployment, format!("has no {kind} of its name"));
        }
    }
    objects.of("Service").for_each(|service| check_service(objects, service, problems));
    for budget in objects.of("PodDisruptionBudget") {
        selects_one(objects, budget, &budget["spec"]["selector"]["matchLabels"], problems);
        // Then a node can always be emptied.
        problems.check(budget["spec"]["maxUnavailable"] == 1, budget, "does not allow exactly one pod to go");
    }
    objects.of("HorizontalPodAutoscaler").for_each(|scaler| check_autoscaler(objects, scaler, problems));
    for policy in objects.of("NetworkPolicy") {
        let selector = &policy["spec"]["podSelector"]["matchLabels"];
        problems.check(!objects.selected(selector).is_empty(), policy, "selects no pod");
    }
    let namespaces = objects.0.iter().filter(|o| o["kind"] != "Namespace").map(|o| &o["metadata"]["namespace"]);
    for object in objects.of("Namespace") {
        let is_shared = namespaces.clone().all(|namespace| *namespace == object["metadata"]["name"]);
        problems.check(is_shared, object, "is not the namespace of every object");
    }
}

fn selects_one(objects: &Objects, object: &Value, labels: &Value, problems: &mut Problems) {
    let selected = objects.selected(labels);
    let is_one = matches!(selected[..], [one] if one["metadata"]["name"] == object["metadata"]["name"]);
    problems.check(is_one && !labels.is_null(), object, "does not select the pods of the Deployment of its name");
}

fn check_service(objects: &Objects, service: &Value, problems: &mut Problems) {
    selects_one(objects, service, &service["spec"]["selector"], problems);
    let selected = objects.selected(&service["spec"]["selector"]);
    for port in list(service, "/spec/ports") {
        let target = text(port, "/targetPort");
        for container in selected.iter().flat_map(|deployment| containers(deployment)) {
            let found = ports(container).get(target).copied();
            problems.check(found.is_some(), service, format!("no container has the port `{target}`"));
            // A headless Service translates no ports: callers reach the pod's own.
            let is_same = found.is_none() || port["port"].as_u64() == found;
            problems.check(is_same, service, format!("port {} is another than the container's", port["port"]));
        }
    }
    problems.check(!list(service, "/spec/ports").is_empty(), service, "has no ports");
}

fn check_autoscaler(objects: &Objects, scaler: &Value, problems: &mut Problems) {
    let target = &scaler["spec"]["scaleTargetRef"];
    let found = objects.find("Deployment", text(target, "/name"));
    let is_there = target["kind"] == "Deployment" && target["apiVersion"] == "apps/v1" && found.is_some();
    problems.check(is_there, scaler, "its target does not exist");
    let is_own = target["name"] == scaler["metadata"]["name"];
    problems.check(is_own, scaler, "its target is not the Deployment of its name");
    let (min, max) = (&scaler["spec"]["minReplicas"], &scaler["spec"]["maxReplicas"]);
    let is_range = min.as_u64().zip(max.as_u64()).is_some_and(|(min, max)| (1..=max).contains(&min));
    problems.check(is_range, scaler, format!("{min} to {max} replicas"));
    problems.check(!list(scaler, "/spec/metrics").is_empty(), scaler, "has no metric");
}

fn volumes(objects: &Objects, deployment: &Value, problems: &mut Problems) {
    let volumes = list(pod(deployment), "/volumes");
    for volume in volumes {
        let (map, claim) = (text(volume, "/configMap/name"), text(volume, "/persistentVolumeClaim/claimName"));
        let secret = text(volume, "/secret/secretName");
        let is_there = objects.find("ConfigMap", map).is_some()
            || objects.find("PersistentVolumeClaim", claim).is_some()
            || secret.ends_with(SECRETS_END);
        problems.check(is_there, deployment, format!("what volume {} holds does not exist", volume["name"]));
        let is_used = containers(deployment).iter().flat_map(|c| list(c, "/volumeMounts"));
        let is_used = is_used.clone().any(|mount| mount["name"] == volume["name"]);
        problems.check(is_used, deployment, format!("volume {} is mounted nowhere", volume["name"]));
    }
    for mount in containers(deployment).iter().flat_map(|container| list(container, "/volumeMounts")) {
        let is_there = volumes.iter().any(|volume| volume["name"] == mount["name"]);
        problems.check(is_there, deployment, format!("no volume {} to mount", mount["name"]));
        problems.check(mount["readOnly"] == true, deployment, format!("{} is not read-only", mount["mountPath"]));
    }
}
