//! `serve`: a node, as `unipic-node` runs it.

use figment::providers::Serialized;
use serde_json::{Map, Value, json};
use unipic_node::{Config, Node};

use crate::args::Serve;
use crate::connect::{device_name, dtype_name, linear_name};
use crate::failure::as_wrong;

/// Serves until SIGTERM or ctrl-c.
///
/// # Errors
/// When the configuration is wrong or the model cannot be loaded.
pub(crate) async fn serve(args: &Serve) -> anyhow::Result<()> {
    let mut flags = Map::new();
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            flags.insert(key.into(), Value::String(value));
        }
    };
    set("listen", args.listen.clone());
    set("device", args.local.device.map(|d| device_name(d).into()));
    set("dtype", args.local.dtype.map(|d| dtype_name(d).into()));
    set("linear", args.local.linear.map(|l| linear_name(l).into()));
    set("model", args.local.model.as_ref().map(|model| model.display().to_string()));
    if let Some(listen) = &args.http {
        flags.insert("http".into(), json!({ "listen": listen }));
    }
    let flags = Serialized::defaults(flags);
    let config = unipic_serving::config::load(args.config.as_deref(), "UNIPIC_NODE_", flags);
    let mut config: Config = config.map_err(as_wrong)?;
    config.telemetry.name_service("unipic-node");
    let telemetry = unipic_telemetry::init(&config.telemetry)?;
    Node::run(config, telemetry.metrics(), unipic_serving::stop_signal()).await?;
    Ok(())
}
