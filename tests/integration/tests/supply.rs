//! What is built in, held against `.deny.toml` without a network: licences, sources, and crates that must not be there.
//!
//! `cargo deny` reads the same file and also knows crates of other systems and, with its database, advisories; it needs a
//! network for both. This runs wherever the tests do, over what they were built from.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot look has failed")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{Metadata, MetadataCommand, Package};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The parts of the file that are held to here.
#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    deny_multiple_versions: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
}

fn deny() -> Deny {
    let text = std::fs::read_to_string(format!("{ROOT}/.deny.toml")).expect(".deny.toml");
    toml::from_str(&text).expect("the tables read here")
}

/// Every package that is built for this system, ours included.
fn packages() -> Vec<Package> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--locked", "--filter-platform", &host].map(str::to_owned).to_vec();
    let metadata: Metadata = MetadataCommand::new()
        .manifest_path(format!("{ROOT}/Cargo.toml"))
        .other_options(options)
        .exec()
        .expect("cargo metadata of what was built");
    metadata.packages
}

#[test]
fn every_licence_is_allowed() {
    let Licenses { allow, exceptions } = deny().licenses;
    let mut wrong = Vec::new();
    let packages = packages();
    assert!(packages.len() > 300, "{} packages", packages.len());
    for package in &packages {
        let Some(license) = &package.license else {
            wrong.push(format!("{} {} names no licence", package.name, package.version));
            continue;
        };
        let own = exceptions.iter().filter(|exception| *exception.name == *package.name);
        let extra: BTreeSet<&String> = own.flat_map(|exception| &exception.allow).collect();
        let parsed = Expression::parse_mode(license, ParseMode::LAX).expect("an SPDX expression");
        let is_allowed = parsed.evaluate(|part| {
            let name = part.license.to_string();
            // An exception to a licence (`WITH LLVM-exception`) only adds rights.
            allow.contains(&name) || extra.contains(&name)
        });
        if !is_allowed {
            wrong.push(format!("{} {}: {license}", package.name, package.version));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_banned_is_built_in_and_shared_types_have_one_version() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package.name.to_string()).or_default().insert(package.version.to_string());
    }
    let mut wrong = Vec::new();
    for Banned { name, deny_multiple_versions } in deny().bans.deny {
        match versions.get(&name) {
            Some(found) if !deny_multiple_versions => wrong.push(format!("{name} {found:?} is banned")),
            Some(found) if found.len() > 1 => wrong.push(format!("{name} has the versions {found:?}")),
            None if deny_multiple_versions => wrong.push(format!("{name} is listed and not used")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn everything_comes_from_one_registry() {
    let Sources { unknown_registry, unknown_git } = deny().sources;
    assert_eq!((unknown_registry.as_str(), unknown_git.as_str()), ("deny", "deny"));
    let packages = packages();
    let sources: BTreeSet<String> =
        packages.iter().filter_map(|package| package.source.as_ref().map(ToString::to_string)).collect();
    assert_eq!(sources.len(), 1, "{sources:?}");
    assert!(sources.iter().all(|source| source.starts_with("registry+")), "{sources:?}");
    let ours = packages.iter().filter(|package| package.source.is_none());
    let outside: Vec<_> = ours
        .filter(|package| {
            !package.manifest_path.as_str().contains("/tests/")
                && !package.manifest_path.as_str().contains("/shared/")
                && !package.manifest_path.as_str().contains("/services/")
        })
        .map(|package| &package.name)
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}
