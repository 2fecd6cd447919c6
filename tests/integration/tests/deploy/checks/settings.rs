//! A pod and the configuration that it is given must agree: ports, patience at the end, the model, whom it calls.

use serde_json::Value;
use toml::Table;

use super::network::CALLS;
use crate::objects::{Objects, Problems, component, containers, pod, ports, settings};
use crate::yaml::{list, text};

/// Between the end of a drain and the end of the process, in seconds.
const CLOSING_SECONDS: f64 = 5.0;

pub(crate) fn check(objects: &Objects, problems: &mut Problems) {
    for deployment in objects.of("Deployment") {
        match settings(objects, deployment) {
            Ok(settings) => agree(objects, deployment, &settings, problems),
            Err(missing) => problems.check(false, deployment, missing),
        }
    }
}

fn agree(objects: &Objects, deployment: &Value, settings: &Table, problems: &mut Problems) {
    let component = component(deployment);
    let Some(container) = containers(deployment).first() else { return };
    let program = text(container, "/args/0");
    problems.check(program == format!("unipic-{component}"), deployment, format!("runs {program}"));

    for (port, listens) in [("grpc", listen(settings)), ("metrics", metrics(settings))] {
        let (address, number) = listens.rsplit_once(':').unwrap_or_default();
        problems.check(address == "0.0.0.0", deployment, format!("its {port} port listens on {address:?} only"));
        let is_same = ports(container).get(port).is_some_and(|expected| number == expected.to_string());
        problems.check(is_same, deployment, format!("its {port} port and the configuration's {number} are two"));
    }

    let sleep = container.pointer("/lifecycle/preStop/sleep/seconds").and_then(Value::as_f64).unwrap_or(0.0);
    problems.check(sleep >= 1.0, deployment, "stops before its callers have heard of it");
    let drain = settings.get("drain_seconds").and_then(toml::Value::as_float).unwrap_or(f64::INFINITY);
    let grace = pod(deployment)["terminationGracePeriodSeconds"].as_f64().unwrap_or(30.0);
    let is_patient = grace >= sleep + drain + CLOSING_SECONDS;
    problems.check(
        is_patient,
        deployment,
        format!("is killed after {grace} s, but sleeps {sleep} s and drains {drain} s"),
    );

    let model = settings.get("model").and_then(toml::Value::as_str);
    let is_mounted = |path: &str| {
        let mounts = list(container, "/volumeMounts").iter().map(|mount| text(mount, "/mountPath"));
        mounts.into_iter().any(|mount| path.strip_prefix(mount).is_some_and(|rest| rest.starts_with('/')))
    };
    let is_right = if component == "gateway" { model.is_none() } else { model.is_some_and(is_mounted) };
    problems.check(is_right, deployment, format!("its model {model:?} is not mounted"));

    for (table, key) in [("tls", "certificate"), ("tls", "key"), ("tls", "client_ca"), ("client_tls", "ca")] {
        let file = settings.get(table).and_then(|table| table.get(key)).and_then(toml::Value::as_str);
        problems.check(file.is_none_or(is_mounted), deployment, format!("{table}.{key} is not mounted"));
    }

    let called: Vec<(&str, &str)> = endpoints(settings).collect();
    for (key, endpoint) in &called {
        let is_allowed = CALLS.contains(&(component, key));
        problems.check(is_allowed, deployment, format!("has no business with {key}"));
        problems.check(is_service(objects, key, endpoint), deployment, format!("nobody serves {key} at {endpoint}"));
    }
    for (_, callee) in CALLS.iter().filter(|(caller, _)| *caller == component) {
        problems.check(
            called.iter().any(|(key, _)| key == callee),
            deployment,
            format!("is not told where {callee} is"),
        );
    }
}

fn listen(settings: &Table) -> &str {
    settings.get("listen").and_then(toml::Value::as_str).unwrap_or_default()
}

/// Where metrics are scraped.
fn metrics(settings: &Table) -> &str {
    let ops = settings.get("ops").and_then(toml::Value::as_table);
    ops.and_then(|table| table.get("listen")).and_then(toml::Value::as_str).unwrap_or_default()
}

/// Which service is looked for where.
fn endpoints(settings: &Table) -> impl Iterator<Item = (&str, &str)> {
    ["understanding", "synthesis", "decoder"].into_iter().flat_map(|key| {
        let listed = settings.get(key).and_then(toml::Value::as_array).map_or(&[][..], Vec::as_slice);
        listed.iter().map(move |endpoint| (key, endpoint.as_str().unwrap_or_default()))
    })
}

/// A headless Service of that name has that port: callers choose among its pods, of which an address that is not looked up
/// again is only one.
fn is_service(objects: &Objects, name: &str, endpoint: &str) -> bool {
    let Some((scheme, authority)) = endpoint.split_once("://") else { return false };
    if !["dns", "http+dns", "https+dns"].contains(&scheme) {
        return false;
    }
    let Some((host, port)) = authority.trim_start_matches('/').split_once(':') else { return false };
    objects.find("Service", host).is_some_and(|service| {
        let port = port.parse::<u64>().ok();
        let has_port = port.is_some() && list(service, "/spec/ports").iter().any(|p| p["port"].as_u64() == port);
        host == name && has_port && service["spec"]["clusterIP"] == "None"
    })
}
