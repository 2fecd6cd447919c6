//! What a pod's container is given is taken by its program: the real loaders read the file that is mounted and the variables
//! that are set.

use std::path::Path;

use anyhow::{Context, ensure};
use integration::processes::accepted;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

use crate::objects::{containers, mounted_config, name};
use crate::yaml::{list, text};
use crate::{OVERLAYS, overlay};

/// Where a pod's Secret is mounted, if it has one.
fn secret(deployment: &Value) -> Option<&str> {
    let volume =
        list(deployment, "/spec/template/spec/volumes").iter().find(|volume| volume.get("secret").is_some())?;
    let mounts = list(containers(deployment).first()?, "/volumeMounts");
    mounts.iter().find(|mount| mount["name"] == volume["name"])?["mountPath"].as_str()
}

/// A container's variables, with what they name in its Secret where that lies here.
fn variables<'a>(deployment: &Value, container: &'a Value, certificates: &str) -> Vec<(&'a str, String)> {
    let here = |value: &str| secret(deployment).map_or_else(|| value.to_owned(), |at| value.replace(at, certificates));
    list(container, "/env").iter().map(|v| (text(v, "/name"), here(text(v, "/value")))).collect()
}

/// A Secret's files: an authority, and a certificate of it with its key.
fn write_certificates(folder: &Path) -> anyhow::Result<()> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["pod".to_owned()])?.signed_by(&key, &authority)?;
    std::fs::write(folder.join("ca.crt"), authority.pem())?;
    std::fs::write(folder.join("tls.crt"), certificate.pem())?;
    std::fs::write(folder.join("tls.key"), key.serialize_pem())?;
    Ok(())
}

#[test]
fn every_container_is_accepted_by_its_program() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    write_certificates(dir.path())?;
    let certificates = dir.path().display().to_string();
    for (overlay_name, _) in OVERLAYS {
        let objects = overlay(overlay_name)?;
        for deployment in objects.of("Deployment") {
            let container = containers(deployment).first().context("no container")?;
            let (_, config) = mounted_config(&objects, deployment).map_err(anyhow::Error::msg)?;
            let file = dir.path().join("config.toml");
            std::fs::write(&file, config)?;
            let variables = variables(deployment, container, &certificates);
            let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
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
