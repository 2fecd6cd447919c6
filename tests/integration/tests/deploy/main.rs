//! What an operator is given in deploy/: every manifest is read, resolved and held against the others and against the
//! services' own configuration, without a cluster, a container engine or a network.
//!
//! What these checks cannot know is whether a cluster takes the manifests; deploy/README.md says what was tried.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that cannot look has failed")]

mod accepted;
mod broken;
mod capacity;
mod checks;
mod compose;
mod container;
mod kustomize;
mod objects;
mod yaml;

use std::path::PathBuf;

use objects::{Objects, component};

/// The overlays, and the components that each must run.
const OVERLAYS: [(&str, &[&str]); 5] =
    [("node", &["node"]), ("node-gpu", &["node"]), ("split", SPLIT), ("split-gpu", SPLIT), ("split-mtls", SPLIT)];

const SPLIT: &[&str] = &["decoder", "gateway", "synthesis", "understanding"];

/// The top of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn overlay(name: &str) -> anyhow::Result<Objects> {
    kustomize::build(&root().join("deploy/kubernetes/overlays").join(name)).map(Objects)
}

#[test]
fn every_overlay_holds_together() -> anyhow::Result<()> {
    for (name, components) in OVERLAYS {
        let objects = overlay(name)?;
        let problems = checks::problems(&objects);
        assert!(problems.is_empty(), "{name}: {problems:#?}");
        let mut found: Vec<&str> = objects.of("Deployment").map(component).collect();
        found.sort_unstable();
        assert_eq!(found, components, "{name}");
    }
    Ok(())
}

#[test]
fn every_overlay_is_checked() -> anyhow::Result<()> {
    for entry in std::fs::read_dir(root().join("deploy/kubernetes/overlays"))? {
        let name = entry?.file_name();
        assert!(OVERLAYS.iter().any(|(known, _)| name == *known), "{name:?} is not checked");
    }
    Ok(())
}

/// Pods on GPUs: everything that holds weights, and only that.
#[test]
fn gpus_are_asked_for_by_what_holds_weights() -> anyhow::Result<()> {
    for (name, _) in OVERLAYS {
        for deployment in overlay(name)?.of("Deployment") {
            let container = &objects::containers(deployment)[0];
            let expected = name.ends_with("-gpu") && component(deployment) != "gateway";
            let limit = &container["resources"]["limits"]["nvidia.com/gpu"];
            assert_eq!(limit == 1, expected, "{name}: {}", objects::name(deployment));
            let image = container["image"].as_str().unwrap_or_default();
            assert_eq!(image.starts_with("unipic-cuda:"), expected, "{name}: {image}");
            let variable = format!("UNIPIC_{}_DEVICE", component(deployment).to_uppercase());
            let is_told = yaml::list(container, "/env").iter().any(|v| v["name"] == variable && v["value"] == "cuda");
            assert_eq!(is_told, expected, "{name}: {}", objects::name(deployment));
        }
    }
    Ok(())
}
