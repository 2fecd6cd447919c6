//! The checks themselves, tried on manifests that are wrong in one place each.

use std::path::Path;

use crate::{checks, kustomize, objects::Objects, root};

/// What is broken: a file under deploy/, a text in it (its first occurrence), what stands there instead, and a part of
/// the complaint.
const BREAKS: &[(&str, &str, &str, &str)] = &[
    // fields
    (DECODER, "apiVersion: apps/v1", "apiVersion: apps/v1beta1", "is not known"),
    (DECODER, "readinessProbe:", "readyProbe:", "has no field `readyProbe`"),
    (DECODER, "terminationGracePeriodSeconds", "terminationGraceSeconds", "has no field `terminationGraceSeconds`"),
    (DECODER, "kind: PodDisruptionBudget", "kind: PodPreset", "kind PodPreset"),
    ("kubernetes/base/model.yaml", "name: unipic-model", "name: other", "volume \"model\" holds does not exist"),
    // references
    (DECODER, "component: decoder\n  strategy", "component: encoder\n  strategy", "does not match its own pods"),
    (DECODER, "targetPort: grpc", "targetPort: http", "no container has the port `http`"),
    (
        DECODER,
        "  ports:\n    - name: grpc\n      port: 50054",
        "  ports:\n    - name: grpc\n      port: 50055",
        "another than",
    ),
    (
        DECODER,
        "    name: decoder\n  minReplicas",
        "    name: synthesis\n  minReplicas",
        "not the Deployment of its name",
    ),
    (DECODER, "    name: decoder\n  minReplicas", "    name: nobody\n  minReplicas", "its target does not exist"),
    (DECODER, "minReplicas: 2", "minReplicas: 99", "99 to"),
    (DECODER, "  maxUnavailable: 1\n", "  maxUnavailable: 0\n", "exactly one pod"),
    (DECODER, "mountPath: /etc/unipic\n              readOnly: true", "mountPath: /etc/unipic", "not read-only"),
    (DECODER, "            - name: model\n", "            - name: models\n", "no volume \"models\" to mount"),
    (DECODER, "name: decoder-config", "name: decoder-settings", "does not exist"),
    // pods
    (DECODER, "image: unipic:0.1.0", "image: unipic:latest", "is not of version"),
    (DECODER, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "security context is not ours"),
    (DECODER, "runAsNonRoot: true", "runAsNonRoot: false", "security context is not ours"),
    (DECODER, "type: RuntimeDefault", "type: Unconfined", "security context is not ours"),
    (DECODER, "enableServiceLinks: false", "enableServiceLinks: true", "taken for settings"),
    (DECODER, "maxUnavailable: 0", "maxUnavailable: 1", "before others are ready"),
    (DECODER, "requests: {cpu: \"2\", memory: 5Gi}", "requests: {memory: 5Gi}", "lacks /resources/requests/cpu"),
    (DECODER, "limits: {memory: 8Gi}", "limits: {memory: 4Gi}", "more memory than its limit"),
    (DECODER, "grpc: {port: 50054}", "grpc: {port: 50051}", "its startupProbe asks nobody"),
    (DECODER, "failureThreshold: 6\n", "failureThreshold: 1\n", "killed before"),
    (DECODER, "failureThreshold: 60", "failureThreshold: 6", "less than a minute"),
    // settings
    (DECODER, "args: [unipic-decoder", "args: [unipic-synthesis", "runs unipic-synthesis"),
    (DECODER, "/etc/unipic/decoder.toml", "/etc/unipic/other.toml", "no file other.toml"),
    (DECODER, "terminationGracePeriodSeconds: 630", "terminationGracePeriodSeconds: 30", "is killed after 30 s"),
    (DECODER, "sleep: {seconds: 5}", "sleep: {seconds: 0}", "before its callers"),
    ("config/split/decoder.toml", "0.0.0.0:50054", "127.0.0.1:50054", "listens on \"127.0.0.1\""),
    ("config/split/decoder.toml", ":50054", ":50055", "and the configuration's 50055 are two"),
    ("config/split/decoder.toml", "/models/unipic", "/weights", "is not mounted"),
    ("config/split/decoder.toml", "drain_seconds = 600.0", "drain_seconds = 700.0", "drains 700 s"),
    (GATEWAY, "dns:///decoder:50054", "dns:///decoder:50051", "nobody serves decoder"),
    (GATEWAY, "dns:///decoder:50054", "http://decoder:50054", "nobody serves decoder"),
    (GATEWAY, "'[\"dns:///understanding:50052\"]'", "'[]'", "is not told where understanding is"),
    (DECODER, "0.0.0.0:9090", "127.0.0.1:9090", "its metrics port listens on"),
    (DECODER, "containerPort: 9090", "containerPort: 9091", "its metrics port and the configuration's 9090 are two"),
    (
        "config/split/understanding.toml",
        "listen =",
        "decoder = [\"http://decoder:50054\"]\nlisten =",
        "no business with",
    ),
    // network
    (NETWORK, "component: gateway", "component: nobody", "selects no pod"),
    (BASE, "monitoring", "default", "Ingress is closed to"),
    (BASE, "port: 9090", "port: 50054", "is open to"),
    (NETWORK, "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]", "may call understanding on {}"),
    (NETWORK, "port: 50052", "port: 50053", "one end allows"),
    (NETWORK, "unipic/client: \"true\"", "other: \"true\"", "is open to"),
    (BASE, "kube-system", "default", "Egress is closed to"),
    (BASE, "    - to:\n", "    - to: []\n    - to:\n", "lets everybody through"),
];

const BASE: &str = "kubernetes/base/network.yaml";
const DECODER: &str = "kubernetes/overlays/split/decoder.yaml";
const GATEWAY: &str = "kubernetes/overlays/split/gateway.yaml";
const NETWORK: &str = "kubernetes/overlays/split/network.yaml";

/// Everything wrong with the split overlay of a copy of deploy/ in which one text was replaced.
fn problems(dir: &Path, file: &str, from: &str, to: &str) -> anyhow::Result<Vec<String>> {
    copy(&root().join("deploy"), dir)?;
    let file = dir.join(file);
    let text = std::fs::read_to_string(&file)?;
    anyhow::ensure!(text.contains(from), "{file:?} has no {from:?}: this test has gone stale");
    std::fs::write(&file, text.replacen(from, to, 1))?;
    Ok(checks::problems(&Objects(kustomize::build(&dir.join("kubernetes/overlays/split"))?)))
}

/// Copies what Kustomize reads.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        match path.extension().and_then(|e| e.to_str()) {
            _ if path.is_dir() => copy(&path, &target)?,
            Some("yaml" | "toml") => drop(std::fs::copy(&path, &target)?),
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn each_check_refuses_what_it_is_there_for() -> anyhow::Result<()> {
    let mut unnoticed = Vec::new();
    for (file, from, to, complaint) in BREAKS {
        let dir = tempfile::tempdir()?;
        let problems = problems(dir.path(), file, from, to)?;
        if !problems.iter().any(|problem| problem.contains(complaint)) {
            unnoticed.push(format!("{file}: {from:?} -> {to:?}: {complaint:?} is not among {problems:#?}"));
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
    Ok(())
}

#[test]
fn a_cluster_without_policies_is_refused() -> anyhow::Result<()> {
    let mut objects = crate::overlay("split")?;
    objects.0.retain(|object| object["kind"] != "NetworkPolicy");
    let problems = checks::problems(&objects);
    for direction in ["ingress", "egress"] {
        let complaint = format!("Deployment/decoder: no policy restricts its {direction}");
        assert!(problems.contains(&complaint), "{problems:#?}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_read_is_an_error() -> anyhow::Result<()> {
    for (file, from, to, complaint) in [
        (DECODER, "kind: Deployment", "kind: Deployment\nkind: Deployment", "duplicate"),
        (DECODER, "metadata:", "metadata: [", "decoder.yaml"),
        ("kubernetes/overlays/split/kustomization.yaml", "  - gateway.yaml\n", "  - missing.yaml\n", "missing.yaml"),
        ("kubernetes/overlays/split/kustomization.yaml", "namespace: unipic", "namePrefix: my-", "`namePrefix`"),
        ("config/split/kustomization.yaml", "[gateway.toml]", "[missing.toml]", "missing.toml"),
    ] {
        let dir = tempfile::tempdir()?;
        let error = problems(dir.path(), file, from, to).expect_err(complaint);
        assert!(format!("{error:#}").contains(complaint), "{complaint}: {error:#}");
    }
    Ok(())
}
