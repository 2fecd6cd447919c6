//! A full disk costs an output, never its truth: no half file under its name, a failure that says so, and nothing lost that
//! was there before. The same command succeeds once there is room.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use integration::disk::Disk;
use integration::processes::{Process, binary};
use integration::unipic::{Ran, unipic};
use serde_json::{Value, json};
use unipic_measures::measured;

const CHEAP: [&str; 8] = ["--seed", "7", "--size", "32x32", "--iterations", "2", "--head-steps", "2"];

/// Small disks; none where this user may not mount one.
fn disk(mib: u32) -> Option<Disk> {
    let disk = Disk::mount(mib);
    if disk.is_none() {
        println!("skipped: this user may not mount a small disk");
    }
    disk
}

/// A run that found the disk full: the status of a failure that is nobody's mistake, and a message that names it.
fn failed_for_room(ran: &Ran, args: &[&str]) -> anyhow::Result<()> {
    let is_told = ran.said.contains("error: ") && ran.said.contains("No space left");
    ensure!(ran.status == Some(1) && is_told && !ran.said.contains("panicked"), "{args:?}: {ran:?}");
    Ok(())
}

/// Runs a command on the full disk, again with room, and holds what it left both times against what it should.
fn try_both(disk: &Disk, dir: &Path, args: &[&str], left_kib: u64) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let before = disk.files()?;
    disk.fill(left_kib)?;
    failed_for_room(&unipic(dir, args)?, args)?;
    let after = disk.files()?;
    for (name, bytes) in &before {
        ensure!(after.get(name) == Some(bytes), "{args:?}: {} is another or gone", name.display());
    }
    disk.free()?;
    unipic(dir, args)?.ended(0).with_context(|| format!("{args:?} with room"))?;
    // What the full disk left for the second run to go on from is not under a name that anybody takes for a result.
    Ok(after.into_iter().filter(|(name, _)| !before.contains_key(name)).collect())
}

#[test]
fn a_full_disk_leaves_no_half_image_and_the_one_before() -> anyhow::Result<()> {
    let Some(disk) = disk(2) else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let place = |name: &str| disk.path().join(name).display().to_string();
    unipic(dir.path(), &[&["generate", "a star", "-o", "source.png"][..], &CHEAP].concat())?.ended(0)?;
    std::fs::copy(dir.path().join("source.png"), disk.path().join("b.png"))?;
    let (a, b, c) = (place("a.png"), place("b.png"), place("c.png"));
    let cases: [Vec<&str>; 4] = [
        [&["generate", "a star", "-o", &a][..], &CHEAP].concat(),
        // In the place of an earlier one.
        [&["generate", "a square", "-o", &b][..], &CHEAP].concat(),
        [&["edit", "source.png", "make it green", "-o", &c][..], &CHEAP].concat(),
        vec!["replay", "source.png", "-o", &c],
    ];
    let mut n_half = 0;
    for args in &cases {
        let left = try_both(&disk, dir.path(), args, 0)?;
        n_half += left.len();
        assert!(left.is_empty(), "{args:?} left {:?}", left.keys());
    }
    measured!("outputs tried", cases.len());
    measured!("half files", n_half);
    Ok(())
}

#[test]
fn a_full_disk_leaves_no_half_dataset_checkpoint_or_evaluation() -> anyhow::Result<()> {
    let Some(disk) = disk(64) else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let place = |name: &str| disk.path().join(name).display().to_string();
    let (shapes, kept, packed, random) = (place("shapes"), place("kept"), place("packed"), place("random"));
    let (judged, manual) = (place("judged"), place("man"));
    unipic(dir.path(), &["data", "shapes", "rows", "--n", "40", "--size", "64"])?.ended(0)?;
    let few = ["--per-category", "1", "--per-edit", "0", "--per-question", "0", "--captions", "0", "--on-sheet", "1"];
    let eval = [&["eval", "nano", &judged, "--iterations", "2", "--head-steps", "2"][..], &few].concat();
    let curate = vec!["data", "curate", "rows/rows.jsonl", &kept, "--reward", "shapes"];
    let cases: [(Vec<&str>, u64, &str); 6] = [
        (vec!["data", "shapes", &shapes, "--n", "40", "--size", "64"], 60, "shapes"),
        (curate, 8, "kept"),
        (vec!["model", "pack", "nano", &packed], 2000, "packed"),
        (vec!["model", "random", &random, "--preset", "tiny"], 200, "random"),
        (eval, 12, "judged"),
        (vec!["man", &manual], 8, "man"),
    ];
    let (n_outputs, mut n_files) = (cases.len(), 0);
    for (args, left_kib, out) in cases {
        let left = try_both(&disk, dir.path(), &args, left_kib)?;
        let done = disk.files()?;
        // Whatever has a result's name is that result, whole.
        let is_working_file = |name: &Path| name.starts_with(format!(".{out}.partial")) || is_journal(name);
        for (name, bytes) in left.iter().filter(|(name, _)| !is_working_file(name)) {
            ensure!(done.get(name) == Some(bytes), "{args:?} left half of {}", name.display());
            n_files += 1;
        }
        ensure!(done.keys().any(|name| name.starts_with(out)), "{args:?} left nothing with room");
        std::fs::remove_dir_all(disk.path().join(out))?;
    }
    measured!("outputs tried", n_outputs);
    measured!("files under their names, all whole", n_files);
    Ok(())
}

/// A file of lines that a next run goes on from.
fn is_journal(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "jsonl")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_on_a_full_disk_says_so_and_goes_on_from_whole_rows() -> anyhow::Result<()> {
    let Some(disk) = disk(2) else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let mut node = Process::start(&binary("unipic-node")?, &[], "", dir.path())?;
    node.ready().await?;
    let row = |i| json!({ "id": format!("r{i}"), "prompt": "a star", "seed": i, "size": "64x64", "iterations": 2, "head_steps": 2 });
    let rows: String = (0..12).map(|i| format!("{}\n", row(i))).collect();
    std::fs::write(dir.path().join("rows.jsonl"), rows)?;
    let (url, out) = (node.url(), disk.path().join("out").display().to_string());
    let args = ["batch", "rows.jsonl", &out, "--json", "--server", &url];
    disk.fill(64)?;
    let ran = unipic(dir.path(), &args)?.ended(1)?;
    let left = disk.files()?;
    // The reason of each row that failed, where there was still room to write it down.
    let reasons =
        left.get(Path::new("out/failed.jsonl")).map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    assert!(format!("{}{reasons}", ran.said).contains("No space left"), "{}{reasons}", ran.said);
    measured!("files left by a batch, all whole", left.len());
    for (name, bytes) in &left {
        match is_journal(name) {
            true => ensure!(bytes.is_empty() || bytes.ends_with(b"\n"), "{} ends in half a line", name.display()),
            false => drop(unipic_imaging::decode(bytes, &unipic_imaging::DecodeLimits::default())?),
        }
    }
    disk.free()?;
    let done = unipic(dir.path(), &args)?.ended(0)?.event("done")?;
    let count = |name: &str| done[name].as_u64().unwrap_or_default();
    assert_eq!((count("made") + count("kept"), count("failed")), (12, 0), "{done}");
    measured!("rows there at last", count("made") + count("kept"));
    Ok(())
}

/// `/dev/full` takes nothing, whoever writes.
#[test]
fn standard_output_that_takes_no_more_is_a_failure() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    unipic(dir.path(), &[&["generate", "a star", "-o", "a.png"][..], &CHEAP].concat())?.ended(0)?;
    let cases: [Vec<&str>; 8] = [
        [&["generate", "a star", "-o", "-"][..], &CHEAP].concat(),
        [&["generate", "a star", "-o", "b.png", "--json"][..], &CHEAP].concat(),
        vec!["describe", "a.png", "--max-tokens", "4"],
        vec!["describe", "a.png", "--max-tokens", "4", "--json"],
        vec!["model", "inspect", "nano"],
        vec!["key", "new", "--tenant", "acme"],
        vec!["man", "pages"],
        vec!["completions", "bash"],
    ];
    for args in &cases {
        let full = File::options().write(true).open("/dev/full")?;
        let output = Command::new(binary("unipic")?)
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::piped())
            .output()?;
        failed_for_room(&output.into(), args)?;
    }
    measured!("outputs tried", cases.len());
    // What was made before is whole.
    unipic_imaging::decode(&std::fs::read(dir.path().join("b.png"))?, &unipic_imaging::DecodeLimits::default())?;
    let _: Vec<Value> = unipic(dir.path(), &["replay", "b.png", "--json"])?.ended(0)?.events()?;
    Ok(())
}
