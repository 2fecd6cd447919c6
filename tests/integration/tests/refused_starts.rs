//! A process that cannot serve says why, naming the key or the tensors, and never opens its port.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use integration::processes::{binary, free_port, model};
use unipic_measures::measured;

/// Starts a binary on a configuration that must be refused; returns what it said.
fn refused(name: &str, dir: &Path, config: &str) -> anyhow::Result<String> {
    let port = free_port()?;
    let file = dir.join("refused.toml");
    std::fs::write(&file, format!("listen = \"127.0.0.1:{port}\"\n{config}"))?;
    let output = Command::new(binary(name)?).arg("--config").arg(&file).output()?;
    anyhow::ensure!(!output.status.success(), "{name} started with {config:?}");
    anyhow::ensure!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{name} has opened its port");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(!said.contains("panicked"), "{name} panicked: {said}");
    Ok(said)
}

/// What every program refuses, with the key that it has to name.
const ANY: [(&str, &str); 12] = [
    ("drain_seconds = -1.0\n", "drain_seconds"),
    ("drain_seconds = \"long\"\n", "drain_seconds"),
    ("max_call_seconds = 0.0\n", "max_call_seconds"),
    ("[connections]\nidle_seconds = inf\n", "connections.idle_seconds"),
    ("[connections]\nmax_per_address = 0\n", "connections.max_per_address"),
    ("[tls]\nkey = \"/nowhere.key\"\n", "tls.certificate"),
    ("[ops]\nlisten = \"nowhere\"\n", "ops.listen"),
    ("[telemetry]\notlp_endpoint = \"nowhere\"\n", "otlp_endpoint"),
    ("[telemetry]\nlog_format = \"xml\"\n", "telemetry.log_format"),
    ("[telemetry]\nlog_filter = \"a=b=c\"\n", "telemetry.log_filter"),
    ("[telemetry]\ncolour = true\n", "colour"),
    ("max_call_seconds = \n", "refused.toml"),
];

/// What every program with weights refuses besides.
fn of_weights(model: &str) -> [(String, &'static str); 6] {
    [
        (format!("{model}devise = \"cpu\"\n"), "devise"),
        (format!("{model}device = \"tpu\"\n"), "device"),
        (format!("{model}device = \"cuda:\"\n"), "device"),
        (format!("{model}dtype = \"f8\"\n"), "dtype"),
        (format!("{model}linear = \"q2\"\n"), "linear"),
        (model.replace("tiny-a", "no-such-folder"), "no-such-folder"),
    ]
}

/// What the gateway refuses besides.
const OF_THE_GATEWAY: [(&str, &str); 10] = [
    ("synthesis = []\n", "synthesis"),
    ("decoder = [\"localhost\"]\n", "decoder"),
    ("model_name = \" \"\n", "model_name"),
    ("[http]\nlisten = \"8080\"\n", "http.listen"),
    ("[[auth.keys]]\ntenant = \"acme\"\nsha256 = \"00\"\n", "auth.keys.0.sha256"),
    ("[limits]\nmax_n = 0\n", "limits.max_n"),
    ("[limits]\nmax_n = -1\n", "max_n"),
    ("[defaults]\ntemperature = nan\n", "temperature"),
    ("[admission]\nmax_running = 0\n", "admission.max_running"),
    ("colour = 1\n", "colour"),
];

#[test]
fn a_wrong_configuration_is_refused_with_its_key() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let model = format!("model = {:?}\n", model());
    let mut n_refused = 0;
    let mut check = |name: &str, config: &str, key: &str| -> anyhow::Result<()> {
        let said = refused(name, dir.path(), config)?;
        anyhow::ensure!(said.contains(key), "{name} does not name {key}: {said}");
        n_refused += 1;
        Ok(())
    };
    for name in ["unipic-decoder", "unipic-synthesis", "unipic-understanding", "unipic-node"] {
        let model = match name {
            "unipic-synthesis" => format!("decoder = [\"http://127.0.0.1:1\"]\n{model}"),
            _ => model.clone(),
        };
        for (config, key) in of_weights(&model) {
            check(name, &config, key)?;
        }
        for (config, key) in ANY {
            check(name, &format!("{model}{config}"), key)?;
        }
    }
    for (config, key) in ANY.into_iter().chain(OF_THE_GATEWAY) {
        check("unipic-gateway", config, key)?;
    }
    measured!("starts refused, no port opened, the key named", n_refused);
    Ok(())
}

#[test]
fn missing_tensors_are_all_named() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("model");
    std::fs::create_dir(&folder)?;
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(model().join(name), folder.join(name))?;
    }
    // A header with one tensor of the right name and the wrong shape, and none of the others.
    let header = br#"{"llm.model.norm.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend_from_slice(&[0; 8]);
    std::fs::write(folder.join("model.safetensors"), file)?;
    let said = refused("unipic-decoder", dir.path(), &format!("model = {folder:?}\n"))?;
    for name in ["llm.model.norm.weight", "llm.model.embed_tokens.weight", "llm.model.layers.2.mlp.up_proj.weight"] {
        assert!(said.contains(name), "{name} is not named: {said}");
    }
    Ok(())
}
