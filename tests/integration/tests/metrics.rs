//! The files of `deploy/observability` against what a process really exports: every metric that the dashboard or an alert
//! reads is exported, every exported one is in the README's table, and the labels they sum by exist.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot look has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use integration::processes::{Process, binary, free_port, model};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_stream::StreamExt;
use unipic_api::pb::uni_pic_client::UniPicClient;
use unipic_api::pb::{GenerateRequest, ImageOptions, Part, Role, Turn, UnderstandRequest, generate_response, part};

/// Labels that Prometheus adds, and those of histograms' buckets.
const ADDED: [&str; 3] = ["job", "instance", "le"];

fn file(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/observability").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Metrics with their kinds, and all label names.
struct Exported {
    kinds: BTreeMap<String, String>,
    labels: BTreeSet<String>,
}

fn exported(text: &str) -> Exported {
    let mut exported = Exported { kinds: BTreeMap::new(), labels: BTreeSet::new() };
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a kind");
            exported.kinds.insert(name.to_owned(), kind.to_owned());
        } else if let Some((_, labels)) = line.split_once('{') {
            let labels = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
            exported.labels.extend(labels);
        }
    }
    exported
}

/// The metrics that a query reads: names of ours, without a histogram's endings.
fn read_by(text: &str, exported: &Exported) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("unipic_"));
    let plain = |word: &str| {
        let whole = ["_bucket", "_sum", "_count"].iter().find_map(|ending| word.strip_suffix(ending));
        let histogram = whole.filter(|name| exported.kinds.get(*name).is_some_and(|kind| kind == "histogram"));
        histogram.unwrap_or(word).to_owned()
    };
    words.map(plain).collect()
}

/// Labels in `by (…)`.
fn summed_by(text: &str) -> BTreeSet<String> {
    let groups = text.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
    groups.flat_map(|(labels, _)| labels.split(',')).map(|label| label.trim().to_owned()).collect()
}

/// Every `expr` of the dashboard.
fn expressions(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "expr" => found.push(text.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// Metric and kind of each row of the README's table.
fn documented() -> BTreeMap<String, String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?.to_owned();
        name.starts_with("unipic_").then_some((name, cells.next()?.to_owned()))
    };
    file("README.md").lines().filter_map(row).collect()
}

async fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Waits until a line is among the metrics.
async fn until_told(port: u16, line: &str) -> anyhow::Result<()> {
    while !get(port, "/metrics").await?.lines().any(|found| found == line) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// An image, a question about it, a refusal and a request that is dropped.
async fn make_requests(url: String) -> anyhow::Result<()> {
    let mut client = UniPicClient::connect(url).await?;
    let options = |iterations| ImageOptions {
        iterations: Some(iterations),
        head_steps: Some(3),
        width: Some(64),
        height: Some(64),
        ..Default::default()
    };
    let generate = |iterations, width| GenerateRequest {
        prompt: "a secret prompt".into(),
        options: Some(ImageOptions { width: Some(width), ..options(iterations) }),
        ..Default::default()
    };
    let mut image = None;
    let mut events = client.generate(generate(3, 64)).await?.into_inner();
    while let Some(event) = events.next().await {
        if let Some(generate_response::Event::Image(made)) = event?.event {
            image = Some(made.data);
        }
    }
    let image = image.expect("an image was made");
    client.generate(generate(3, 7)).await.expect_err("7 pixels are no width");
    let mut dropped = client.generate(generate(16, 64)).await?.into_inner();
    dropped.next().await.expect("an event")?;
    drop(dropped);
    let content = [part::Content::Image(image), part::Content::Text("What is this?".into())];
    let parts = content.into_iter().map(|content| Part { content: Some(content) }).collect();
    let turns = vec![Turn { role: Role::User.into(), parts }];
    let ask = UnderstandRequest { turns, max_tokens: Some(3), ..Default::default() };
    let mut events = client.understand(ask).await?.into_inner();
    while let Some(event) = events.next().await {
        event?;
    }
    Ok(())
}

/// What a gateway tells whose backends are not there: only one that calls others has replicas to tell of.
async fn of_a_gateway() -> anyhow::Result<String> {
    let (dir, port) = (tempfile::tempdir()?, free_port()?);
    let nobody = "[\"http://127.0.0.1:1\"]";
    let config = format!(
        "understanding = {nobody}\nsynthesis = {nobody}\ndecoder = {nobody}\n[ops]\nlisten = \"127.0.0.1:{port}\"\n"
    );
    let gateway = Process::start(&binary("unipic-gateway")?, &[], &config, dir.path())?;
    while get(port, "/metrics").await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for backend in ["understanding", "synthesis", "decoder"] {
        until_told(port, &format!("unipic_replicas{{backend=\"{backend}\",state=\"well\"}} 0")).await?;
    }
    let told = get(port, "/metrics").await?;
    drop(gateway);
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_is_exported_and_what_is_exported_is_documented() -> anyhow::Result<()> {
    let (dir, port) = (tempfile::tempdir()?, free_port()?);
    let config = format!("model = {:?}\n[ops]\nlisten = \"127.0.0.1:{port}\"\n", model());
    let mut node = Process::start(&binary("unipic-node")?, &[], &config, dir.path())?;
    node.ready().await?;
    make_requests(node.url()).await?;
    assert!(get(port, "/readyz").await?.starts_with("HTTP/1.1 200"));
    let closed = until_told(port, "unipic_decoder_sessions_open 0");
    tokio::time::timeout(Duration::from_secs(30), closed).await.expect("the dropped request's session is closed")?;
    let answer = get(port, "/metrics").await?;
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    node.stop().await?;
    assert!(!text.contains("secret"), "a prompt is in the metrics");
    for (kind, is_held) in
        [("weights", true), ("prefixes", true), ("embeddings", true), ("sessions", false), ("answers", false)]
    {
        let begin = format!("unipic_device_memory_bytes{{device=\"cpu\",kind=\"{kind}\"}} ");
        let bytes: f64 = text.lines().find_map(|line| line.strip_prefix(&begin)).expect(kind).parse()?;
        assert_eq!(bytes > 0.0, is_held, "{kind}: {bytes} bytes are held when all requests have ended");
    }

    let of_gateway = tokio::time::timeout(Duration::from_secs(30), of_a_gateway()).await??;
    let exported = exported(&format!("{text}\n{of_gateway}"));
    let names: BTreeSet<String> = exported.kinds.keys().cloned().collect();
    assert_eq!(exported.kinds, documented(), "what is exported is what deploy/observability/README.md tells");
    let dashboard: serde_json::Value = serde_json::from_str(&file("grafana-dashboard.json"))?;
    let mut watched = Vec::new();
    expressions(&dashboard, &mut watched);
    assert!(watched.len() > 20, "a dashboard has queries");
    watched.push(file("alerts.yml"));
    let watched = watched.join("\n");
    let unknown: Vec<String> = read_by(&watched, &exported).difference(&names).cloned().collect();
    assert!(unknown.is_empty(), "the dashboard or the alerts read what nobody exports: {unknown:?}");
    let unwatched: Vec<String> = names.difference(&read_by(&watched, &exported)).cloned().collect();
    assert!(unwatched.is_empty(), "nobody looks at {unwatched:?}");
    let known = |label: &String| exported.labels.contains(label) || ADDED.contains(&label.as_str());
    let labels: Vec<String> = summed_by(&watched).into_iter().filter(|label| !known(label)).collect();
    assert!(labels.is_empty(), "summed by labels that no metric has: {labels:?}");
    Ok(())
}

#[test]
fn the_yaml_files_are_what_their_readers_expect() {
    // Indentation of spaces, and the keys that each tool cannot do without.
    for (name, keys) in [
        ("prometheus.yml", &["global:", "rule_files:", "  - alerts.yml", "scrape_configs:"][..]),
        ("alerts.yml", &["groups:", "    rules:"]),
        ("otel-collector.yml", &["receivers:", "processors:", "exporters:", "service:", "  pipelines:"]),
    ] {
        let text = file(name);
        assert!(!text.contains('\t'), "{name} has tabs");
        for key in keys {
            assert!(text.lines().any(|line| line == *key), "{name} lacks {key:?}");
        }
    }
    let alerts = file("alerts.yml");
    let count = |what: &str| alerts.lines().filter(|line| line.trim_start().starts_with(what)).count();
    let n = count("- alert: ");
    assert!(n > 5);
    for key in ["expr: ", "severity: ", "summary: "] {
        assert_eq!(count(key), n, "every alert has {key}");
    }
}
