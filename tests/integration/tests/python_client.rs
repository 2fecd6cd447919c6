//! A Python client with nothing but grpcio, run as it is against the single-process node.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
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
    ensure!(protoc.status()?.success(), "the stubs do not generate");

    let config = format!("model = {:?}\n", model());
    let mut node = Process::start(&binary("unipic-node")?, &[], &config, dir.path())?;
    node.ready().await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/client.py");
    let run = Command::new(&python)
        .arg(script)
        .arg(format!("127.0.0.1:{}", node.port))
        .args([&stubs, &dir.path().to_path_buf()])
        .output()?;
    ensure!(run.status.success(), "{}\n{}", String::from_utf8_lossy(&run.stderr), node.log());
    let said: serde_json::Value = serde_json::from_slice(&run.stdout)?;
    assert_eq!(said["seed"], 7);
    assert_eq!(said["same_text"], true);
    assert_eq!(said["refused"], "INVALID_ARGUMENT");
    for name in ["drawn.png", "edited.png"] {
        assert!(std::fs::read(dir.path().join(name))?.starts_with(b"\x89PNG"), "{name} is no PNG");
    }
    node.stop().await
}
