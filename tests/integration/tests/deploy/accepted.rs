//! What a pod's container is given is taken by its program: the real loaders read the file that is mounted and the variables
//! that are set.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use integration::processes::binary;

use crate::objects::{containers, mounted_config, name};
use crate::yaml::{list, text};
use crate::{OVERLAYS, overlay};

/// Has a program judge a configuration file, with these variables and none of this process's own.
fn accepted(program: &str, file: &Path, variables: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut command = Command::new(binary(program)?);
    command.arg("--config").arg(file).arg("--check").env_clear().envs(variables.iter().copied());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} refuses {variables:?}: {said}");
    Ok(())
}

#[test]
fn every_container_is_accepted_by_its_program() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for (overlay_name, _) in OVERLAYS {
        let objects = overlay(overlay_name)?;
        for deployment in objects.of("Deployment") {
            let container = containers(deployment).first().context("no container")?;
            let (_, config) = mounted_config(&objects, deployment).map_err(anyhow::Error::msg)?;
            let file = dir.path().join("config.toml");
            std::fs::write(&file, config)?;
            let variables: Vec<(&str, &str)> =
                list(container, "/env").iter().map(|v| (text(v, "/name"), text(v, "/value"))).collect();
            let at = || format!("{overlay_name}: {}", name(deployment));
            let program = text(container, "/args/0");
            accepted(program, &file, &variables).with_context(at)?;
            // A variable that no program reads would be as good as none.
            let misspelt = variables.first().map(|(name, _)| format!("{name}X")).unwrap_or_default();
            let refused = accepted(program, &file, &[&variables[..], &[(&misspelt, "1")]].concat());
            ensure!(refused.is_err(), "{}: takes {misspelt:?}", at());
        }
    }
    Ok(())
}
