//! The embedded model is what everything runs on where no other is named.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use integration::processes::{Process, binary};
use serde_json::Value;

/// Runs `unipic --json` and returns its events.
fn events(dir: &Path, args: &[&str]) -> anyhow::Result<Vec<Value>> {
    let output = Command::new(binary("unipic")?).args(args).arg("--json").current_dir(dir).output().context("run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "unipic {args:?} ended with {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn the_command_line_draws_with_it_by_default_and_by_its_name() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let draw = |out: &str, rest: &[&str]| {
        events(
            dir.path(),
            &[&["generate", "a red circle", "-o", out, "--seed", "1", "--head-steps", "2"], rest].concat(),
        )
    };
    let told = draw("default.png", &[])?;
    let image = told.iter().find(|event| event["event"] == "image").context("no image")?;
    assert_eq!((image["width"].as_u64(), image["height"].as_u64()), (Some(128), Some(128)));
    let step = told.iter().rfind(|event| event["event"] == "progress").context("no progress")?;
    assert_eq!((step["iterations"].as_u64(), step["total_tokens"].as_u64()), (Some(16), Some(64)), "{step}");
    draw("named.png", &["--model", "nano"])?;
    let read = |name: &str| std::fs::read(dir.path().join(name));
    assert!(read("default.png")? == read("named.png")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_model_serves_it() -> anyhow::Result<()> {
    use unipic_api::pb::{GetModelRequest, uni_pic_client::UniPicClient};
    let dir = tempfile::tempdir()?;
    let mut node = Process::start(&binary("unipic-node")?, &[], "", dir.path())?;
    node.ready().await?;
    let model = UniPicClient::connect(node.url()).await?.get_model(GetModelRequest {}).await?.into_inner();
    let defaults = model.image_defaults.context("defaults")?;
    assert_eq!(model.name, "nano");
    assert_eq!((defaults.width, defaults.height, defaults.iterations), (Some(128), Some(128), Some(16)));
    assert_eq!((defaults.head_steps, defaults.guidance_scale), (Some(25), Some(3.0)));
    node.stop().await
}

#[test]
fn it_is_inspected_packed_and_evaluated() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let inspected = events(dir.path(), &["model", "inspect", "nano", "--size", "128x128"])?;
    assert_eq!(inspected[0]["model"], "nano");
    assert_eq!(inspected[0]["plan"].as_array().map(Vec::len), Some(6));
    let packed = events(dir.path(), &["model", "pack", "nano", "packed"])?;
    assert_eq!(events(dir.path(), &["model", "inspect", "packed"])?[0]["model"], "nano");
    let again = events(dir.path(), &["model", "pack", "packed", "again"])?;
    let hash = |events: &[Value]| events.last().map(|event| event["sha256"].clone());
    assert_eq!(hash(&packed), hash(&again), "bf16 packed as bf16 is the same");

    let few = ["--per-category", "1", "--per-edit", "0", "--per-question", "1", "--captions", "1", "--on-sheet", "1"];
    let cheap = ["--iterations", "2", "--head-steps", "2"];
    let told = events(dir.path(), &[&["eval", "nano", "judged"][..], &few, &cheap].concat())?;
    let report = &told.last().context("no event")?["report"];
    assert_eq!(report["categories"].as_object().map(serde_json::Map::len), Some(6), "{report}");
    assert!(dir.path().join("judged/report.md").is_file() && dir.path().join("judged/sheet.png").is_file());
    Ok(())
}
