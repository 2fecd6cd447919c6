//! `unipic top`: what a node did is in its table, and what is no operators' port is told from one.

use std::net::TcpListener;

use anyhow::Context;
use integration::processes::{Process, binary, free_port};
use integration::unipic::{start, unipic};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_tells_what_a_node_did() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (dir, ops) = (dir.path(), free_port()?);
    let config = format!("[ops]\nlisten = \"127.0.0.1:{ops}\"\n");
    let mut node = Process::start(&binary("unipic-node")?, &[], &config, dir)?;
    node.ready().await?;
    let cheap = ["--seed", "7", "--size", "64x64", "--iterations", "3", "--head-steps", "2"];
    let draw = ["generate", "a star", "--n", "2", "-o", "a.png", "--server", &node.url()];
    unipic(dir, &[&draw[..], &cheap].concat())?.ended(0)?;

    let address = format!("http://127.0.0.1:{ops}");
    let once = unipic(dir, &["top", "--once", "--server", &address])?.ended(0)?;
    let lines: Vec<&str> = once.text()?.lines().collect();
    assert!(lines[0].starts_with("SERVER") && lines[0].contains("QUEUED") && lines[0].contains("MEMORY"), "{once:?}");
    assert!(lines[1].starts_with(&format!("127.0.0.1:{ops}  ready")) && lines[1].contains("MiB"), "{once:?}");
    for kind in ["decode", "encode", "head", "language", "vae"] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("{kind} "))), "no {kind} in {once:?}");
    }

    let told = unipic(dir, &["top", "--once", "--json", "--server", &address])?.ended(0)?.event("top")?;
    let figures = &told["servers"][0]["figures"];
    assert_eq!(
        (&told["servers"][0]["ready"], &figures["running"], &figures["queued"]),
        (&true.into(), &0.0.into(), &0.0.into())
    );
    assert!(figures["done_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{told}");
    assert!(figures["iteration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{told}");
    let kinds = told["batches"].as_array().context("batches")?;
    let head = kinds.iter().find(|kind| kind["kind"] == "head").context("the head's batches")?;
    assert!(head["step_ms"].as_f64().is_some_and(|ms| ms > 0.0) && head["tokens"].as_f64().is_some_and(|n| n >= 1.0));

    // Live: looks that follow each other, until ctrl-c.
    let child = start(dir, &["top", "--every", "1", "--json", "--server", &address])?;
    std::thread::sleep(std::time::Duration::from_millis(2500));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    let live: integration::unipic::Ran = child.wait_with_output()?.into();
    let live = live.ended(0)?;
    assert!(live.events()?.len() >= 2, "{live:?}");
    let last = live.event("top")?;
    assert_eq!(last["servers"][0]["figures"]["done_per_second"], 0.0, "nothing ended between two looks: {last}");
    assert_eq!(last["batches"], serde_json::json!([]));
    node.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_shows_the_replicas_that_it_calls() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (dir, ops) = (dir.path(), free_port()?);
    let mut encoder = Process::start(&binary("unipic-understanding")?, &[], "", dir)?;
    encoder.ready().await?;
    let nobody = "http://127.0.0.1:1";
    let config = format!(
        "understanding = [\"{}\", {nobody:?}]\nsynthesis = [{nobody:?}]\ndecoder = [{nobody:?}]\n[ops]\nlisten = \
         \"127.0.0.1:{ops}\"\n",
        encoder.url()
    );
    let gateway = Process::start(&binary("unipic-gateway")?, &[], &config, dir)?;
    let address = format!("127.0.0.1:{ops}");
    let is_told = |text: &str| {
        let row = |service: &str, well: &str| {
            let mut rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            rows.any(|row| row.starts_with(&[address.as_str(), service, well]))
        };
        row("understanding", "1") && row("synthesis", "0") && row("decoder", "0")
    };
    // Health is heard within moments; until then a replica counts as well.
    let start = std::time::Instant::now();
    loop {
        let once = unipic(dir, &["top", "--once", "--server", &address])?;
        if once.text().is_ok_and(is_told) {
            break;
        }
        anyhow::ensure!(start.elapsed().as_secs() < 30, "the replicas are not told: {once:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let told = unipic(dir, &["top", "--once", "--json", "--server", &address])?.ended(0)?.event("top")?;
    let replicas = &told["servers"][0]["figures"]["replicas"];
    let first = replicas.as_array().and_then(|all| all.iter().find(|of| of["backend"] == "understanding"));
    let first = first.context("those of the encoder")?;
    let bad = first["unwell"].as_f64().unwrap_or_default() + first["open"].as_f64().unwrap_or_default();
    assert_eq!((first["well"].as_f64(), bad), (Some(1.0), 1.0), "{told}");
    drop(gateway);
    encoder.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_operators_port_is_told() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let mut node = Process::start(&binary("unipic-node")?, &[], "", dir)?;
    node.ready().await?;
    // Accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let address = silent.local_addr()?.to_string();
    for (address, status, part) in [
        ("127.0.0.1:1", 3, "no answer"),
        (&address, 3, "no answer"),
        (&node.url(), 3, "no HTTP answer"),
        ("nonsense", 2, "host:port"),
    ] {
        let ran = unipic(dir, &["top", "--once", "--server", address])?.ended(status)?;
        assert!(ran.said.contains(part), "{address}: {part} is not in {}", ran.said);
    }
    node.stop().await
}
