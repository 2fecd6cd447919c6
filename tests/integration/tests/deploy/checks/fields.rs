//! Only kinds that are known here, and in them only fields that are: a misspelt field is not an error to Kustomize, and
//! to some clusters only a warning.

use std::collections::HashSet;

use serde_json::Value;

use crate::objects::{Objects, Problems, name};

/// Kinds and their versions.
const KINDS: [(&str, &str); 8] = [
    ("ConfigMap", "v1"),
    ("Deployment", "apps/v1"),
    ("HorizontalPodAutoscaler", "autoscaling/v2"),
    ("Namespace", "v1"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("PersistentVolumeClaim", "v1"),
    ("PodDisruptionBudget", "policy/v1"),
    ("Service", "v1"),
];

/// Fields by where they stand; `[]` is any item of a list. The last name of a row's place stands for the rest of the path.
const FIELDS: &[(&str, &[&str])] = &[
    ("", &["apiVersion", "kind", "metadata", "spec", "data"]),
    ("metadata", &["name", "namespace", "labels", "annotations"]),
    ("Deployment.spec", &["selector", "strategy", "template"]),
    ("Deployment.spec.selector", &["matchLabels"]),
    ("Deployment.spec.strategy", &["type", "rollingUpdate"]),
    ("Deployment.spec.strategy.rollingUpdate", &["maxSurge", "maxUnavailable"]),
    ("Deployment.spec.template", &["metadata", "spec"]),
    (
        "Deployment.spec.template.spec",
        &[
            "automountServiceAccountToken",
            "containers",
            "enableServiceLinks",
            "nodeSelector",
            "securityContext",
            "terminationGracePeriodSeconds",
            "tolerations",
            "topologySpreadConstraints",
            "volumes",
        ],
    ),
    ("securityContext", &["runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile", "fsGroup"]),
    ("seccompProfile", &["type"]),
    ("topologySpreadConstraints[]", &["maxSkew", "topologyKey", "whenUnsatisfiable", "labelSelector"]),
    ("labelSelector", &["matchLabels"]),
    ("tolerations[]", &["key", "operator", "effect"]),
    (
        "containers[]",
        &[
            "args",
            "env",
            "image",
            "lifecycle",
            "livenessProbe",
            "name",
            "ports",
            "readinessProbe",
            "resources",
            "securityContext",
            "startupProbe",
            "volumeMounts",
        ],
    ),
    ("containers[].securityContext", &["allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"]),
    ("capabilities", &["drop"]),
    ("env[]", &["name", "value"]),
    ("lifecycle", &["preStop"]),
    ("preStop", &["sleep"]),
    ("sleep", &["seconds"]),
    ("livenessProbe", PROBE),
    ("readinessProbe", PROBE),
    ("startupProbe", PROBE),
    ("grpc", &["port", "service"]),
    ("exec", &["command"]),
    ("httpGet", &["path", "port"]),
    ("containers[].ports[]", &["name", "containerPort"]),
    ("containers[].resources", &["requests", "limits"]),
    ("volumeMounts[]", &["name", "mountPath", "readOnly"]),
    ("volumes[]", &["name", "configMap", "persistentVolumeClaim", "secret"]),
    ("configMap", &["name"]),
    ("persistentVolumeClaim", &["claimName", "readOnly"]),
    ("secret", &["secretName", "defaultMode"]),
    ("Service.spec", &["clusterIP", "selector", "ports"]),
    ("Service.spec.ports[]", &["name", "port", "targetPort"]),
    ("PodDisruptionBudget.spec", &["maxUnavailable", "selector"]),
    ("PodDisruptionBudget.spec.selector", &["matchLabels"]),
    ("HorizontalPodAutoscaler.spec", &["scaleTargetRef", "minReplicas", "maxReplicas", "metrics", "behavior"]),
    ("scaleTargetRef", &["apiVersion", "kind", "name"]),
    ("metrics[]", &["type", "pods"]),
    ("pods", &["metric", "target"]),
    ("metric", &["name"]),
    ("target", &["type", "averageValue"]),
    ("behavior", &["scaleDown"]),
    ("scaleDown", &["stabilizationWindowSeconds", "policies"]),
    ("policies[]", &["type", "value", "periodSeconds"]),
    ("NetworkPolicy.spec", &["podSelector", "policyTypes", "ingress", "egress"]),
    ("podSelector", &["matchLabels"]),
    ("namespaceSelector", &["matchLabels"]),
    ("ingress[]", &["from", "ports"]),
    ("egress[]", &["to", "ports"]),
    ("from[]", &["podSelector", "namespaceSelector"]),
    ("to[]", &["podSelector", "namespaceSelector"]),
    ("ingress[].ports[]", &["protocol", "port"]),
    ("egress[].ports[]", &["protocol", "port"]),
    ("PersistentVolumeClaim.spec", &["accessModes", "resources"]),
    ("PersistentVolumeClaim.spec.resources", &["requests"]),
];

const PROBE: &[&str] = &["grpc", "exec", "httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold"];

/// Mappings whose keys are ours to choose.
const FREE: [&str; 8] =
    ["labels", "annotations", "matchLabels", "data", "requests", "limits", "nodeSelector", "Service.spec.selector"];

pub(crate) fn check(objects: &Objects, problems: &mut Problems) {
    let mut names = HashSet::new();
    for object in &objects.0 {
        let kind = object["kind"].as_str().unwrap_or_default();
        let is_known = KINDS.iter().any(|(k, version)| *k == kind && object["apiVersion"] == *version);
        problems.check(is_known, object, format!("kind {kind} in {} is not known", object["apiVersion"]));
        problems.check(names.insert(name(object)), object, "is there twice");
        walk(object, kind, kind, object, problems);
    }
}

fn walk(value: &Value, place: &str, kind: &str, object: &Value, problems: &mut Problems) {
    match value {
        Value::Object(map) if !FREE.iter().any(|free| is_place(place, free)) => {
            let allowed = if place == kind { Some(FIELDS[0].1) } else { allowed(place) };
            problems.check(
                allowed.is_some() || map.is_empty(),
                object,
                format!("`{place}` is not known to this check"),
            );
            for (key, value) in map {
                let is_allowed = allowed.is_none_or(|allowed| allowed.contains(&key.as_str()));
                problems.check(is_allowed, object, format!("`{place}` has no field `{key}`"));
                walk(value, &format!("{place}.{key}"), kind, object, problems);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| walk(item, &format!("{place}[]"), kind, object, problems));
        }
        _ => {}
    }
}

/// The row with the longest ending of the place.
fn allowed(place: &str) -> Option<&'static [&'static str]> {
    let rows = FIELDS.iter().skip(1).filter(|(ending, _)| is_place(place, ending));
    rows.max_by_key(|(ending, _)| ending.len()).map(|(_, fields)| *fields)
}

fn is_place(place: &str, ending: &str) -> bool {
    place.strip_suffix(ending).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
