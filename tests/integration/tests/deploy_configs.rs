//! Every configuration file in deploy/ is taken by the program that it is for, as it is started there.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use integration::processes::{accepted, check};
use serde_json::Value;

/// Programs and the configuration files that are theirs.
const FILES: [(&str, &str); 5] = [
    ("unipic-node", "node/node.toml"),
    ("unipic-gateway", "split/gateway.toml"),
    ("unipic-understanding", "split/understanding.toml"),
    ("unipic-synthesis", "split/synthesis.toml"),
    ("unipic-decoder", "split/decoder.toml"),
];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

#[test]
fn every_file_is_accepted() -> anyhow::Result<()> {
    for (program, file) in FILES {
        accepted(program, &deploy().join("config").join(file), &[])?;
    }
    Ok(())
}

#[test]
fn every_file_is_tried() -> anyhow::Result<()> {
    for folder in std::fs::read_dir(deploy().join("config"))? {
        for file in std::fs::read_dir(folder?.path())? {
            let path = file?.path();
            let is_tried = FILES.iter().any(|(_, known)| path.ends_with(known));
            ensure!(is_tried || path.extension().is_none_or(|e| e != "toml"), "{} is not tried", path.display());
        }
    }
    Ok(())
}

#[test]
fn a_check_refuses_what_a_start_would() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for (program, file) in FILES {
        let text = std::fs::read_to_string(deploy().join("config").join(file))?;
        let bad = dir.path().join("bad.toml");
        std::fs::write(&bad, format!("colour = 1\n{text}"))?;
        let output = check(program, &bad, &[])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains("colour"), "{program} takes a misspelt key: {said}");
    }
    Ok(())
}

/// What compose makes of `${NAME:-default}` where NAME is not set.
fn default(value: &str) -> &str {
    let inner = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.and_then(|inner| inner.split_once(":-")).map_or(value, |(_, default)| default)
}

/// Compose services, with the variables that they are given there.
#[test]
fn every_container_of_compose_is_accepted() -> anyhow::Result<()> {
    for file in ["node.yaml", "split.yaml"] {
        let text = std::fs::read_to_string(deploy().join("compose").join(file))?;
        let mut document: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text)?;
        document.apply_merge()?;
        let document: Value = serde_json::to_value(document)?;
        let services = document["services"].as_object().context("no services")?;
        let is_ours = |service: &&Value| service["image"].as_str().is_some_and(|image| image.starts_with("unipic:"));
        for service in services.values().filter(is_ours) {
            let word = |index: usize| service["command"][index].as_str().context("a command names program and file");
            let name = Path::new(word(2)?).file_name().context("a file")?;
            let (program, path) =
                FILES.iter().find(|(_, known)| Path::new(known).ends_with(name)).context("a file of ours")?;
            ensure!(word(0)? == *program, "{} is given {path}", word(0)?);
            let variables = service["environment"].as_object().context("variables")?.iter();
            let variables: Vec<(&str, &str)> =
                variables.map(|(name, value)| (&**name, default(value.as_str().unwrap_or_default()))).collect();
            accepted(program, &deploy().join("config").join(path), &variables)?;
        }
    }
    Ok(())
}
