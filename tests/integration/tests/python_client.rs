//! Python clients with nothing but grpcio, run as they are against the single-process node: of our API, and of the Open
//! Inference Protocol.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use integration::processes::{Process, binary, model};
use integration::python::python;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_draws_edits_and_asks() -> anyhow::Result<()> {
    let Some(python) = python()? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let (stubs, proto) = (dir.path().join("stubs"), root().join("proto"));
    std::fs::create_dir(&stubs)?;
    let mut protoc = Command::new(&python);
    protoc.args(["-m", "grpc_tools.protoc"]).arg(format!("--proto_path={}", proto.display()));
    protoc.arg(format!("--python_out={}", stubs.display())).arg(format!("--grpc_python_out={}", stubs.display()));
    for name in ["tensor", "decoder", "synthesis", "unipic"] {
        protoc.arg(proto.join(format!("unipic/v1/{name}.proto")));
    }
    protoc.arg(proto.join("inference/open_inference.proto"));
    ensure!(protoc.status()?.success(), "the stubs do not generate");

    let config = format!("model = {:?}\n", model());
    let mut node = Process::start(&binary("unipic-node")?, &[], &config, dir.path())?;
    node.ready().await?;
    let run = |name: &str, last: &Path| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name);
        let address = format!("127.0.0.1:{}", node.port);
        let run = Command::new(&python).arg(script).arg(address).args([stubs.as_path(), last]).output()?;
        ensure!(run.status.success(), "{}\n{}", String::from_utf8_lossy(&run.stderr), node.log());
        serde_json::from_slice::<serde_json::Value>(&run.stdout).context("no JSON")
    };
    let said = run("client.py", dir.path())?;
    assert_eq!(said["seed"], 7);
    assert_eq!(said["same_text"], true);
    assert_eq!(said["refused"], "INVALID_ARGUMENT");
    for name in ["drawn.png", "edited.png"] {
        assert!(std::fs::read(dir.path().join(name))?.starts_with(b"\x89PNG"), "{name} is no PNG");
    }
    let said = run("inference_client.py", &dir.path().join("drawn.png"))?;
    let fine = serde_json::json!({ "shape": true, "same": true });
    assert_eq!(said, serde_json::json!({ "siglip2": fine, "mar": fine }));
    node.stop().await
}
