//! As much of Kustomize as our overlays use: resources, a namespace, ConfigMaps of files, strategic merge patches.
//!
//! Anything else in a kustomization is an error, so that nothing is left out of what is checked. Names keep no hash of
//! their content: references are checked as they are written.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};

use crate::yaml::{documents, list, parse, text};

/// The objects that `kubectl kustomize FOLDER` would print.
///
/// # Errors
/// When a file is missing, no YAML, or a kustomization uses what is not known here.
pub(crate) fn build(folder: &Path) -> anyhow::Result<Vec<Value>> {
    let file = folder.join("kustomization.yaml");
    let [kustomization] = documents(&file)?.try_into().map_err(|_| anyhow::anyhow!("{file:?}: not one document"))?;
    let mut objects = Vec::new();
    for (key, value) in kustomization.as_object().with_context(|| format!("{file:?} is no mapping"))? {
        match key.as_str() {
            "apiVersion" => ensure!(value == "kustomize.config.k8s.io/v1beta1", "{file:?}: apiVersion {value}"),
            "kind" => ensure!(value == "Kustomization", "{file:?}: kind {value}"),
            "resources" | "configMapGenerator" | "namespace" | "patches" => {}
            other => bail!("{file:?}: `{other}` is not known to this check"),
        }
    }
    for resource in list(&kustomization, "/resources") {
        let path = folder.join(resource.as_str().context("a resource is no path")?);
        objects.extend(if path.is_dir() { build(&path)? } else { documents(&path)? });
    }
    for generator in list(&kustomization, "/configMapGenerator") {
        objects.push(config_map(folder, generator)?);
    }
    for patch in list(&kustomization, "/patches") {
        apply(folder, patch, &mut objects).with_context(|| file.display().to_string())?;
    }
    if let Some(namespace) = kustomization.get("namespace") {
        for object in objects.iter_mut().filter(|object| object["kind"] != "Namespace") {
            object["metadata"]["namespace"] = namespace.clone();
        }
    }
    Ok(objects)
}

fn config_map(folder: &Path, generator: &Value) -> anyhow::Result<Value> {
    let mut data = Map::new();
    for file in list(generator, "/files") {
        let name = file.as_str().context("a file is no path")?;
        let text = std::fs::read_to_string(folder.join(name)).with_context(|| format!("read {name}"))?;
        data.insert(name.into(), text.into());
    }
    ensure!(!data.is_empty(), "a ConfigMap without files: {generator}");
    Ok(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": generator["name"] }, "data": data }))
}

fn apply(folder: &Path, patch: &Value, objects: &mut [Value]) -> anyhow::Result<()> {
    let change = match patch.get("patch") {
        Some(inline) => parse(inline.as_str().context("`patch` is no text")?)?,
        None => documents(&folder.join(text(patch, "/path")))?,
    };
    let [change] = change.try_into().map_err(|_| anyhow::anyhow!("a patch is not one document"))?;
    let mut n_patched = 0;
    for object in objects.iter_mut().filter(|object| is_target(&patch["target"], object)) {
        // The patch's own kind and name only make it an object; with a target they do not choose.
        let mut change = change.clone();
        change["metadata"] = json!({});
        merge(object, &change, "");
        n_patched += 1;
    }
    ensure!(n_patched > 0, "a patch has no object: {}", patch["target"]);
    Ok(())
}

fn is_target(target: &Value, object: &Value) -> bool {
    let is = |key: &str, of: &Value| target.get(key).is_none_or(|wanted| wanted == of);
    let is_labelled = target.get("labelSelector").and_then(Value::as_str).is_none_or(|selector| {
        let has =
            |pair: &str| pair.split_once('=').is_some_and(|(key, value)| object["metadata"]["labels"][key] == value);
        selector.split(',').all(has)
    });
    is("kind", &object["kind"]) && is("name", &object["metadata"]["name"]) && is_labelled
}

/// Lists of these fields are merged item by item, by this key; others are replaced, as Kubernetes' types say.
const MERGE_KEYS: [(&str, &str); 5] = [
    ("containers", "name"),
    ("env", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];

fn merge(target: &mut Value, change: &Value, field: &str) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                match (target.get_mut(key), value) {
                    (_, Value::Null) => drop(target.remove(key)),
                    (Some(old), _) => merge(old, value, key),
                    (None, _) => drop(target.insert(key.clone(), value.clone())),
                }
            }
        }
        (Value::Array(target), Value::Array(change)) => match MERGE_KEYS.iter().find(|(name, _)| *name == field) {
            Some((_, key)) => {
                for item in change {
                    match target.iter_mut().find(|old| old[key] == item[key]) {
                        Some(old) => merge(old, item, ""),
                        None => target.push(item.clone()),
                    }
                }
            }
            None => target.clone_from(change),
        },
        (target, change) => target.clone_from(change),
    }
}
