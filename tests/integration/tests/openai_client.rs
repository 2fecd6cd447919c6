//! OpenAI's Python package against the HTTP API of the single-process node.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use integration::processes::{Process, binary, free_port, model};
use integration::python::python;

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_draws_edits_and_asks() -> anyhow::Result<()> {
    let Some(python) = python()? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let pictures = free_port()?;
    let fetching = format!("[http.remote_images]\nfetch = true\nprivate_hosts = [\"127.0.0.1:{pictures}\"]\n");
    let config = format!("model = {:?}\n{fetching}", model());
    let mut node = Process::start(&binary("unipic-node")?, &[], &config, dir.path())?;
    node.ready().await?;
    let port = node.http_port.context("a node has an HTTP API")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/openai_client.py");
    let run = Command::new(&python)
        .arg(script)
        .arg(format!("http://127.0.0.1:{port}/v1"))
        .arg(pictures.to_string())
        .output()?;
    ensure!(run.status.success(), "{}\n{}", String::from_utf8_lossy(&run.stderr), node.log());
    let said: serde_json::Value = serde_json::from_slice(&run.stdout)?;
    assert_eq!(said["images"], 2);
    assert_eq!(said["same_bytes"], true, "the same seed made other images");
    let redraws = serde_json::json!({ "same_bytes": true, "other_than_whole": true, "feathered": true });
    assert_eq!(said["redraws"], redraws, "edits with a mask");
    assert_eq!(said["events"], serde_json::json!(["image_generation.partial_image", "image_generation.completed"]));
    assert_eq!(said["same_text"], true, "the streamed answer differs from the whole one");
    assert_eq!(said["same_from_address"], true, "an image at an address is another one");
    assert_eq!(said["refused"], serde_json::json!(["mask", 404, "messages[0].role"]));
    node.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_the_way_out() -> anyhow::Result<()> {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let http = taken.local_addr()?.to_string();
    let dir = tempfile::tempdir()?;
    let (file, grpc) = (dir.path().join("node.toml"), free_port()?);
    std::fs::write(&file, format!("model = {:?}\nlisten = \"127.0.0.1:{grpc}\"\n", model()))?;
    let ended = Command::new(binary("unipic-node")?).arg("--config").arg(&file).args(["--http", &http]).output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains(&http) && said.contains("--http ADDRESS"), "{said}");
    Ok(())
}
