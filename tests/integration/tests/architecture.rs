//! The dependency table of the README, held against the manifests.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot look has failed")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crate, what it may import of ours, and what must not be reachable from it through our crates.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("unipic-api", &[], &["candle"]),
    ("unipic-telemetry", &[], &["candle"]),
    ("unipic-imaging", &[], &["candle", "tonic", "tokio"]),
    ("unipic-nn", &[], &["tonic", "tokio"]),
    ("unipic-weights", &[], &["tonic", "tokio"]),
    ("unipic-models", &["nn", "weights"], &["tonic", "tokio"]),
    ("unipic-engine", &[], &["candle", "tonic"]),
    ("unipic-engine-metrics", &["engine", "telemetry"], &["candle"]),
    ("unipic-wire", &["api"], &[]),
    ("unipic-tls", &[], &["candle", "tonic"]),
    ("unipic-fetch", &["tls"], &["candle", "tonic"]),
    ("unipic-serving", &["api", "telemetry", "tls"], &["candle"]),
    ("unipic-client", &["api", "telemetry", "tls"], &["candle"]),
    ("unipic-understanding", SHARED, &[]),
    ("unipic-synthesis", SHARED, &[]),
    ("unipic-decoder", SHARED, &[]),
    ("unipic-gateway", &["api", "serving", "client", "fetch", "telemetry", "imaging"], &["candle"]),
    ("unipic-world", &["imaging"], &["candle", "tonic", "tokio"]),
    ("unipic-trainer", &["imaging", "models", "nn", "telemetry", "weights", "world"], &["tonic"]),
    ("unipic-eval", &["api", "client", "imaging", "world"], &["candle"]),
    ("unipic-node", ASSEMBLY, &[]),
    ("unipic", ASSEMBLY, &[]),
    ("unipic-test-support", &[], &["tonic", "tokio"]),
    ("unipic-measures", &[], &["candle", "tonic", "tokio"]),
];

const SHARED: &[&str] =
    &["api", "client", "engine", "engine-metrics", "models", "nn", "serving", "telemetry", "weights", "wire"];

const ASSEMBLY: &[&str] = &[
    "api",
    "client",
    "decoder",
    "engine",
    "engine-metrics",
    "eval",
    "gateway",
    "imaging",
    "models",
    "nn",
    "node",
    "serving",
    "synthesis",
    "telemetry",
    "trainer",
    "understanding",
    "weights",
    "wire",
    "world",
];

/// Normal and build dependencies of every workspace crate, by package name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata");
    let shipped = |p: &cargo_metadata::Package| {
        let normal = p.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
        normal.map(|d| d.name.clone()).collect()
    };
    metadata.packages.iter().map(|p| (p.name.to_string(), shipped(p))).collect()
}

#[test]
fn every_crate_imports_only_what_its_row_allows() {
    let dependencies = dependencies();
    let own: BTreeSet<&String> = dependencies.keys().collect();
    let mut wrong = Vec::new();
    for (name, allowed, _) in TABLE {
        let allowed: BTreeSet<String> = allowed.iter().map(|a| format!("unipic-{a}")).collect();
        let imports = dependencies.get(*name).unwrap_or_else(|| panic!("no crate {name}"));
        let ours = imports.iter().filter(|d| own.contains(d) && !allowed.contains(*d));
        wrong.extend(ours.map(|d| format!("{name} imports {d}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_forbidden_is_reachable() {
    let dependencies = dependencies();
    let mut wrong = Vec::new();
    for (name, _, forbidden) in TABLE {
        let mut open = vec![name.to_string()];
        let mut reached = BTreeSet::new();
        while let Some(next) = open.pop() {
            if reached.insert(next.clone()) {
                open.extend(dependencies.get(&next).into_iter().flatten().cloned());
            }
        }
        // `candle` stands for candle-core and candle-nn, `tonic` for its companions, `tokio` for tokio-util and the like.
        let bad = reached.iter().filter(|d| forbidden.iter().any(|f| *d == f || d.starts_with(&format!("{f}-"))));
        wrong.extend(bad.map(|d| format!("{name} reaches {d}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_shipped_crate_has_a_row() {
    let rows: BTreeSet<&str> = TABLE.iter().map(|(name, ..)| *name).collect();
    let checks = ["parity", "integration", "benches", "unipic-chaos", "unipic-simulation", "fuzz"];
    let missing: Vec<String> =
        dependencies().into_keys().filter(|n| !rows.contains(n.as_str()) && !checks.contains(&n.as_str())).collect();
    assert!(missing.is_empty(), "crates without a row in the table: {missing:?}");
}

#[test]
fn nothing_that_ships_imports_what_only_tests_need() {
    let of_tests = ["unipic-test-support", "unipic-measures"];
    let users: Vec<String> = dependencies()
        .into_iter()
        .filter(|(name, d)| TABLE.iter().any(|(row, ..)| row == name) && of_tests.iter().any(|n| d.contains(*n)))
        .map(|(name, _)| name)
        .collect();
    assert!(users.is_empty(), "{users:?}");
}

#[test]
fn no_module_hides_behind_a_vague_name() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut open = vec![root.join("shared"), root.join("services"), root.join("tests")];
    let mut vague = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("a folder of the tree").flatten() {
            let path = entry.path();
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            if ["utils", "util", "common", "helpers", "helper", "manager"].contains(&stem) {
                vague.push(path.clone());
            }
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    assert!(vague.is_empty(), "{vague:?}");
}
