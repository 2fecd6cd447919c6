//! What an overlay amounts to, and how its objects find each other.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::yaml::{list, text};

/// The objects of one overlay.
pub(crate) struct Objects(pub(crate) Vec<Value>);

/// Notes what is wrong, with the object it is wrong at.
#[derive(Default)]
pub(crate) struct Problems(pub(crate) Vec<String>);

impl Problems {
    pub(crate) fn check(&mut self, is_right: bool, object: &Value, problem: impl AsRef<str>) {
        if !is_right {
            self.0.push(format!("{}: {}", name(object), problem.as_ref()));
        }
    }
}

impl Objects {
    pub(crate) fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.of(kind).find(|object| object["metadata"]["name"] == name)
    }

    /// Deployments whose pods have all of `labels`.
    pub(crate) fn selected(&self, labels: &Value) -> Vec<&Value> {
        self.of("Deployment").filter(|deployment| matches(labels, pod_labels(deployment))).collect()
    }
}

/// `Kind/name`.
pub(crate) fn name(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))
}

pub(crate) fn pod_labels(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["metadata"]["labels"]
}

pub(crate) fn pod(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]
}

pub(crate) fn containers(deployment: &Value) -> &[Value] {
    list(deployment, "/spec/template/spec/containers")
}

/// Which part of unipic a pod is.
pub(crate) fn component(deployment: &Value) -> &str {
    text(deployment, "/spec/template/metadata/labels/app.kubernetes.io~1component")
}

/// The named ports of a container.
pub(crate) fn ports(container: &Value) -> BTreeMap<&str, u64> {
    list(container, "/ports")
        .iter()
        .map(|port| (text(port, "/name"), port["containerPort"].as_u64().unwrap_or(0)))
        .collect()
}

/// Whether `labels` has every pair of `wanted`; nothing wanted matches everything.
pub(crate) fn matches(wanted: &Value, labels: &Value) -> bool {
    wanted.as_object().is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// The configuration that a container is given: the TOML file which its arguments name, from the ConfigMap mounted there,
/// then the variables with its program's name.
///
/// # Errors
/// What is missing on the way.
pub(crate) fn settings(objects: &Objects, deployment: &Value) -> Result<toml::Table, String> {
    let (path, file) = mounted_config(objects, deployment)?;
    let mut settings: toml::Table = file.parse().map_err(|error| format!("{path}: {error}"))?;
    let prefix = format!("UNIPIC_{}_", component(deployment).to_uppercase());
    for variable in containers(deployment).first().map_or(&[][..], |container| list(container, "/env")) {
        if let Some(key) = text(variable, "/name").strip_prefix(&prefix) {
            set(&mut settings, &key.to_lowercase(), text(variable, "/value"));
        }
    }
    Ok(settings)
}

/// Path and text of the file that a container's arguments name, from the ConfigMap mounted there.
///
/// # Errors
/// What is missing on the way.
pub(crate) fn mounted_config<'a>(objects: &'a Objects, deployment: &'a Value) -> Result<(&'a str, &'a str), String> {
    let container = containers(deployment).first().ok_or("no container")?;
    let args: Vec<&str> = list(container, "/args").iter().filter_map(Value::as_str).collect();
    let [_, "--config", path] = args[..] else { return Err(format!("arguments {args:?} name no configuration")) };
    let (folder, file) = path.rsplit_once('/').ok_or("a path without a folder")?;
    let mounts = list(container, "/volumeMounts");
    let mount = mounts.iter().find(|m| m["mountPath"] == folder).ok_or(format!("nothing is mounted at {folder}"))?;
    let volumes = list(deployment, "/spec/template/spec/volumes");
    let volume = volumes.iter().find(|v| v["name"] == mount["name"]).ok_or(format!("no volume {}", mount["name"]))?;
    let map = text(volume, "/configMap/name");
    let map = objects.find("ConfigMap", map).ok_or(format!("no ConfigMap {map:?}"))?;
    let text = map["data"].get(file).and_then(Value::as_str).ok_or(format!("no file {file} in its ConfigMap"))?;
    Ok((path, text))
}

/// Sets what a variable says: a list or a number where it reads as one, else a text; `__` goes down a table.
fn set(settings: &mut toml::Table, key: &str, value: &str) {
    match key.split_once("__") {
        Some((table, key)) => {
            let table = settings.entry(table).or_insert_with(|| toml::Table::new().into());
            table.as_table_mut().into_iter().for_each(|table| set(table, key, value));
        }
        None => {
            let read = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("value"));
            settings.insert(key.to_owned(), read.unwrap_or_else(|| value.into()));
        }
    }
}
