//! `unipic batch`: every row is done, kept, or named with its reason; a kill costs only what was under way.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use integration::processes::{Process, binary};
use integration::unipic::{Ran, start, unipic, unipic_with};
use serde_json::{Value, json};
use unipic_imaging::{Format, Rgb8, encode};

async fn node(dir: &Path) -> anyhow::Result<Process> {
    let mut node = Process::start(&binary("unipic-node")?, &[], "", dir)?;
    node.ready().await?;
    Ok(node)
}

/// A row that costs little.
fn row(id: &str, more: Value) -> Value {
    let mut row = json!({ "id": id, "seed": 3, "size": "32x32", "iterations": 2, "head_steps": 2 });
    for (key, value) in more.as_object().into_iter().flatten() {
        row[key] = value.clone();
    }
    row
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn json_lines(path: &Path) -> anyhow::Result<Vec<Value>> {
    std::fs::read_to_string(path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn counts(ran: &Ran) -> anyhow::Result<[u64; 4]> {
    let done = ran.event("done")?;
    Ok(["made", "kept", "failed", "not_tried"].map(|name| done[name].as_u64().unwrap_or(u64::MAX)))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_done_kept_or_named_with_their_reason() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (dir, node) = (dir.path(), node(dir.path()).await?);
    std::fs::create_dir(dir.join("rows"))?;
    std::fs::write(dir.join("rows/source.png"), encode(&Rgb8::filled(40, 40, [200, 20, 20]), Format::Png, &[])?)?;
    let good = [
        row("one", json!({ "prompt": "a red circle" })),
        row("two", json!({ "prompt": "a star", "n": 2, "output_format": "webp" })),
        row("edit", json!({ "image": "source.png", "instruction": "make it green" })),
    ];
    let bad = [
        row("odd", json!({ "prompt": "a star", "size": "33x33" })),
        row("lost", json!({ "image": "missing.png", "instruction": "make it green" })),
        row("one", json!({ "prompt": "a second one" })),
    ];
    let rows = dir.join("rows/rows.jsonl");
    std::fs::write(&rows, format!("{}{}nonsense\n", lines(&good), lines(&bad)))?;
    let url = node.url();
    let run = || unipic(dir, &["batch", "rows/rows.jsonl", "out", "--json", "--server", &url]);

    let first = run()?.ended(1)?;
    assert_eq!(counts(&first)?, [3, 0, 4, 0]);
    assert!(first.said.contains("4 of 7 rows failed") && first.said.contains("failed.jsonl"), "{first:?}");
    for name in ["one.png", "two-0.webp", "two-1.webp", "edit.png"] {
        assert!(dir.join("out").join(name).is_file(), "{name}");
    }
    let mut failed = json_lines(&dir.join("out/failed.jsonl"))?;
    failed.sort_by_key(|row| row["line"].as_u64());
    let reasons: Vec<_> = failed.iter().map(|row| (row["line"].as_u64(), row["id"].as_str())).collect();
    assert_eq!(reasons, [(Some(4), Some("odd")), (Some(5), Some("lost")), (Some(6), Some("one")), (Some(7), None)]);
    for (row, part) in failed.iter().zip(["multiple of 16", "missing.png", "an earlier row", "no good row"]) {
        assert!(row["error"].as_str().is_some_and(|error| error.contains(part)), "{part} is not in {row}");
    }
    assert_eq!(failed[3]["row"], "nonsense");

    // Put right, the rest is kept; a row that was changed and one whose file is gone are made again.
    let one = std::fs::read(dir.join("out/one.png"))?;
    std::fs::remove_file(dir.join("out/one.png"))?;
    let mended = [
        good[0].clone(),
        row("two", json!({ "prompt": "a moon", "n": 1 })),
        good[2].clone(),
        row("odd", json!({ "prompt": "a star" })),
    ];
    std::fs::write(&rows, lines(&mended))?;
    let second = run()?.ended(0)?;
    assert_eq!(counts(&second)?, [3, 1, 0, 0]);
    assert!(std::fs::read(dir.join("out/one.png"))? == one, "the same row made another image");
    assert!(!dir.join("out/failed.jsonl").exists());
    let third = run()?.ended(0)?;
    assert_eq!(counts(&third)?, [0, 4, 0, 0]);
    let outcomes: Vec<_> = third.events()?.iter().filter(|event| event["event"] == "item").count().to_string().into();
    assert_eq!(outcomes, b"4");

    let piped = unipic_with(dir, &["batch", "-", "piped", "--server", &url], lines(&good[..1]).as_bytes())?.ended(0)?;
    assert!(piped.text()?.contains("1 rows made") && piped.said.is_empty(), "{piped:?}");
    assert!(std::fs::read(dir.join("piped/one.png"))? == one);
    node.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_batch_goes_on_where_it_was() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (dir, node) = (dir.path(), node(dir.path()).await?);
    let rows: Vec<_> = (0..24).map(|at| row(&format!("r{at}"), json!({ "prompt": "a star", "seed": at }))).collect();
    std::fs::write(dir.join("rows.jsonl"), lines(&rows))?;
    let url = node.url();
    let args = |out| ["batch", "rows.jsonl", out, "--json", "--in-flight", "2", "--server", &url];

    let mut child = start(dir, &args("out"))?;
    let begun = Instant::now();
    let journal = dir.join("out/done.jsonl");
    let finished = || std::fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    while finished() < 5 {
        ensure!(begun.elapsed() < Duration::from_secs(60), "5 rows took more than a minute");
        ensure!(child.try_wait()?.is_none(), "it ended before it could be killed");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill()?;
    child.wait()?;
    let before = json_lines(&journal)?;
    assert!((5..24).contains(&before.len()), "{} rows were done", before.len());
    // A kill in the middle of a line.
    std::fs::OpenOptions::new()
        .append(true)
        .open(&journal)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"{\"id\": \"r2"))?;

    let again = unipic(dir, &args("out"))?.ended(0)?;
    let [made, kept, failed, not_tried] = counts(&again)?;
    assert_eq!((kept as usize, made as usize, failed, not_tried), (before.len(), 24 - before.len(), 0, 0));
    unipic(dir, &args("whole"))?.ended(0)?;
    for at in 0..24 {
        let file = |out: &str| std::fs::read(dir.join(out).join(format!("r{at}.png")));
        assert!(file("out")? == file("whole")?, "row {at} differs from an uninterrupted run's");
    }
    let left: Vec<_> = std::fs::read_dir(dir.join("out"))?.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 25, "24 images and the journal: {left:?}");
    node.stop().await
}

#[test]
fn what_cannot_be_run_is_refused_at_once() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    std::fs::write(dir.join("rows.jsonl"), lines(&[row("a", json!({ "prompt": "a star" }))]))?;
    std::fs::write(dir.join("empty.jsonl"), "\n  \n")?;
    std::fs::write(dir.join("file"), "")?;
    let nobody = ["--server", "http://127.0.0.1:1"];
    for (args, status, part) in [
        (["batch", "rows.jsonl", "out"], 3, "cannot be reached"),
        (["batch", "empty.jsonl", "out"], 2, "holds no row"),
        (["batch", "missing.jsonl", "out"], 2, "missing.jsonl"),
        (["batch", "rows.jsonl", "file"], 1, "make the folder file"),
    ] {
        let refused = unipic(dir, &[&args[..], &nobody].concat())?;
        assert_eq!(refused.status, Some(status), "{args:?}: {refused:?}");
        assert!(refused.said.to_lowercase().contains(part), "{part} is not in {}", refused.said);
    }
    Ok(())
}
