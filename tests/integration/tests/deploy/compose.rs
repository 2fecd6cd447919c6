//! The compose files: locked up like the pods, with files and services that exist.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::Value;

use crate::root;
use crate::yaml::{documents, list, text};

const FILES: [&str; 2] = ["node.yaml", "split.yaml"];

/// Our containers of a compose file, by name.
fn services(file: &str) -> anyhow::Result<Vec<(String, Value)>> {
    let path = root().join("deploy/compose").join(file);
    let document = documents(&path)?.into_iter().next().context("an empty file")?;
    let services = document["services"].as_object().context("no services")?;
    Ok(services.iter().map(|(name, service)| (name.clone(), service.clone())).collect())
}

/// Everything that is wrong with a service.
fn problems(name: &str, service: &Value, others: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |is_right: bool, problem: &str| {
        if !is_right {
            problems.push(format!("{name}: {problem}"));
        }
    };
    let is_ours = text(service, "/image").starts_with("unipic");
    let (_, tag) = text(service, "/image").rsplit_once(':').unwrap_or_default();
    check(!tag.is_empty() && tag != "latest", "its image has no version");
    check(!is_ours || tag == env!("CARGO_PKG_VERSION"), "its image is of another version");
    check(service["read_only"] == true, "its file system can be written to");
    check(service["cap_drop"] == serde_json::json!(["ALL"]), "it keeps capabilities");
    check(list(service, "/security_opt").iter().any(|o| o == "no-new-privileges:true"), "it may gain privileges");
    check(service["user"] == "65532:65532", "it does not run as our user");
    check(service.pointer("/deploy/resources/limits/memory").is_some(), "its memory has no limit");
    let is_local = list(service, "/ports").iter().all(|p| p.as_str().is_some_and(|p| p.starts_with("127.0.0.1:")));
    check(is_local, "it is published to other hosts, without encryption");
    for volume in list(service, "/volumes").iter().filter_map(Value::as_str) {
        check(volume.ends_with(":ro"), "it mounts something to write to");
        let source = volume.split(':').next().unwrap_or_default();
        let is_there = !source.starts_with('.') || root().join("deploy/compose").join(source).is_file();
        check(is_there, "it mounts a file that does not exist");
    }
    if is_ours {
        check(
            service["healthcheck"]["test"] == serde_json::json!(["CMD", "unipic", "health"]),
            "its health is not asked",
        );
        check(service["environment"]["UNIPIC_SERVER"].is_string(), "its health is asked at no address");
        check(service["stop_grace_period"] == "610s", "it is killed before it has drained");
        let command: Vec<&str> = list(service, "/command").iter().filter_map(Value::as_str).collect();
        let is_run = matches!(command[..], [_, "--config", file] if list(service, "/volumes").iter()
            .any(|volume| volume.as_str().is_some_and(|volume| volume.ends_with(&format!(":{file}:ro")))));
        check(is_run, "its configuration is not mounted");
        for url in urls(service) {
            check(url == "127.0.0.1" || others.contains(&url), &format!("no service {url}"));
        }
    }
    problems
}

/// The hosts that a service's environment speaks of.
fn urls(service: &Value) -> Vec<String> {
    let variables = service["environment"].as_object().into_iter().flatten();
    let texts = variables.filter_map(|(_, value)| value.as_str());
    texts
        .flat_map(|text| text.split("http://").skip(1))
        .filter_map(|rest| rest.split(':').next())
        .map(Into::into)
        .collect()
}

#[test]
fn compose_files_hold_together() -> anyhow::Result<()> {
    for file in FILES {
        let services = services(file)?;
        let names: BTreeSet<String> = services.iter().map(|(name, _)| name.clone()).collect();
        let problems: Vec<String> = services.iter().flat_map(|(n, service)| problems(n, service, &names)).collect();
        assert!(problems.is_empty(), "{file}: {problems:#?}");
    }
    Ok(())
}

#[test]
fn the_split_has_every_service_and_two_decoders() -> anyhow::Result<()> {
    let services = services("split.yaml")?;
    let names: Vec<&str> = services.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["collector", "decoder-1", "decoder-2", "gateway", "synthesis", "understanding"]);
    for (name, service) in &services {
        let is_outside = service["networks"].as_array().is_some_and(|n| n.iter().any(|n| n == "outer"));
        assert_eq!(is_outside, name == "gateway", "{name}");
        assert_eq!(service["ports"].is_array(), name == "gateway", "{name}");
        for decoder in ["decoder-1", "decoder-2"] {
            let calls = ["gateway", "synthesis"].contains(&name.as_str());
            assert_eq!(urls(service).iter().any(|url| url == decoder), calls, "{name} and {decoder}");
        }
    }
    Ok(())
}

#[test]
fn a_wrong_service_is_refused() -> anyhow::Result<()> {
    let (name, good) = services("node.yaml")?.into_iter().next().context("a service")?;
    let wrong = serde_json::json!({
        "image": "unipic:latest", "read_only": false, "cap_drop": [], "security_opt": [], "user": "0:0", "deploy": {},
        "ports": ["50051:50051"], "volumes": ["./missing.toml:/etc/unipic/node.toml:ro"], "healthcheck": {},
        "environment": { "UNIPIC_SERVER": "http://nobody:1" }, "stop_grace_period": "10s", "command": ["unipic-node"],
    });
    for (key, value) in wrong.as_object().context("an object")? {
        let mut service = good.clone();
        service[key] = value.clone();
        assert!(!problems(&name, &service, &BTreeSet::new()).is_empty(), "{key}");
    }
    Ok(())
}
