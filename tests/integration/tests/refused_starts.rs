//! A process that cannot serve says why, naming the key or the tensors, and never opens its port.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use integration::processes::{binary, free_port, model};

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

#[test]
fn a_wrong_configuration_is_refused_with_its_key() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let model = format!("model = {:?}\n", model());
    let weights = ["unipic-decoder", "unipic-synthesis", "unipic-understanding", "unipic-node"];
    for name in weights {
        let model = match name {
            "unipic-synthesis" => format!("decoder = [\"http://127.0.0.1:1\"]\n{model}"),
            _ => model.clone(),
        };
        for (config, key) in [
            (format!("{model}devise = \"cpu\"\n"), "devise"),
            (format!("{model}device = \"tpu\"\n"), "device"),
            (format!("{model}dtype = \"f8\"\n"), "dtype"),
            (format!("{model}linear = \"q2\"\n"), "linear"),
            (format!("{model}[telemetry]\notlp_endpoint = \"nowhere\"\n"), "otlp_endpoint"),
            (model.replace("tiny-a", "no-such-folder"), "no-such-folder"),
        ] {
            let said = refused(name, dir.path(), &config)?;
            assert!(said.contains(key), "{name} does not name {key}: {said}");
        }
    }
    for (config, key) in [
        ("synthesis = []\n", "synthesis"),
        ("decoder = [\"localhost\"]\n", "decoder"),
        ("[limits]\nmax_n = 0\n", "limits.max_n"),
        ("[limits]\nmax_n = -1\n", "max_n"),
        ("[defaults]\ntemperature = nan\n", "temperature"),
        ("[admission]\nmax_running = 0\n", "admission.max_running"),
        ("colour = 1\n", "colour"),
    ] {
        let said = refused("unipic-gateway", dir.path(), config)?;
        assert!(said.contains(key), "the gateway does not name {key}: {said}");
    }
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
