//! `unipic data`: datasets of the shapes world, drawn and curated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use integration::processes::binary;
use serde_json::Value;

fn attempt(dir: &Path, args: &[&str]) -> anyhow::Result<Output> {
    Command::new(binary("unipic")?).args(args).current_dir(dir).output().context("run unipic")
}

fn unipic(dir: &Path, args: &[&str]) -> anyhow::Result<()> {
    let output = attempt(dir, args)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "unipic {args:?} ended with {}: {said}", output.status);
    Ok(())
}

/// All files below a folder with their bytes.
fn files(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let (mut open, mut found) = (vec![folder.to_owned()], BTreeMap::new());
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(folder)?.to_owned(), std::fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

fn rows(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(path)?;
    text.lines().map(|line| serde_json::from_str(line).context("a row is JSON")).collect()
}

#[test]
fn every_kind_of_row_names_its_words_and_its_images() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for (kind, images, words) in [
        ("generation", &["image"][..], "/caption"),
        ("caption", &["image"], "/caption"),
        ("question", &["image"], "/conversation/1/text"),
        ("edit", &["source", "target"], "/instruction"),
    ] {
        unipic(dir.path(), &["data", "shapes", kind, "--n", "5", "--kind", kind, "--size", "32"])?;
        let rows = rows(&dir.path().join(kind).join("rows.jsonl"))?;
        assert_eq!(rows.len(), 5);
        for row in rows {
            assert!(row.pointer(words).and_then(Value::as_str).is_some_and(|text| !text.is_empty()), "{row}");
            for image in images {
                let path = dir.path().join(kind).join(row[image].as_str().context("a path")?);
                assert!(std::fs::read(&path)?.starts_with(b"\x89PNG"), "{}", path.display());
            }
        }
    }
    Ok(())
}

#[test]
fn a_dataset_is_the_same_twice_and_after_an_interruption() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let shapes = |out: &str, seed: &str| -> Vec<String> {
        let args = ["data", "shapes", out, "--n", "12", "--seed", seed, "--kind", "edit", "--size", "32"];
        args.map(str::to_owned).to_vec()
    };
    let make = |out: &str, seed: &str| {
        let args = shapes(out, seed);
        unipic(dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    make("first", "7")?;
    make("second", "7")?;
    let first = files(&dir.path().join("first"))?;
    assert_eq!(first.len(), 2 * 12 + 2);
    assert!(first == files(&dir.path().join("second"))?, "the same parameters draw something else");

    // What an interrupted run leaves: its parameters, some whole images and one that was cut off.
    let partial = dir.path().join(".third.partial");
    std::fs::create_dir_all(partial.join("images"))?;
    for (name, bytes) in first.iter().filter(|(name, _)| !name.ends_with("rows.jsonl")).take(5) {
        std::fs::write(partial.join(name), bytes)?;
    }
    std::fs::write(partial.join("parameters.json"), &first[Path::new("parameters.json")])?;
    let cut = Path::new("images/0000000-source.png");
    std::fs::write(partial.join(cut), &first[cut][..first[cut].len() / 2])?;
    make("third", "7")?;
    assert!(first == files(&dir.path().join("third"))?, "an interrupted run draws something else");
    assert!(!partial.exists());

    make("first", "7")?;
    let args = shapes("first", "8");
    let output = attempt(dir.path(), &args.iter().map(String::as_str).collect::<Vec<_>>())?;
    assert!(!output.status.success(), "another dataset is never written over one");
    assert!(String::from_utf8_lossy(&output.stderr).contains("exists already"));
    make("fourth", "8")?;
    assert!(first != files(&dir.path().join("fourth"))?, "another seed draws the same");
    Ok(())
}

#[test]
fn wrong_rows_are_marked_and_curation_finds_them() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let args = ["data", "shapes", "mixed", "--n", "30", "--wrong-share", "0.5", "--difficulty", "easy"];
    unipic(dir.path(), &args)?;
    let mixed = rows(&dir.path().join("mixed/rows.jsonl"))?;
    let n_wrong = mixed.iter().filter(|row| row["corrupted"] == true).count();
    assert!((5..=25).contains(&n_wrong), "{n_wrong} of 30");
    unipic(dir.path(), &["data", "curate", "mixed/rows.jsonl", "curated", "--reward", "shapes"])?;
    let kept = rows(&dir.path().join("curated/kept.jsonl"))?;
    assert!(kept.iter().all(|row| row["corrupted"] == false), "a wrong row was kept");
    assert!(kept.len() > (30 - n_wrong) / 2, "{} of {} right rows were kept", kept.len(), 30 - n_wrong);

    for (args, part) in [
        (&["data", "shapes", "x", "--n", "1", "--wrong-share", "1.5"][..], "wrong-share"),
        (&["data", "shapes", "x", "--n", "1", "--wrong-share", "0.5", "--kind", "edit"], "generation"),
        (&["data", "shapes", "x", "--n", "0"], "--n"),
        (&["data", "shapes", "x", "--n", "1", "--difficulty", "hard"], "easy"),
        (&["data", "curate", "missing.jsonl", "y", "--reward", "shapes"], "missing.jsonl"),
    ] {
        let output = attempt(dir.path(), args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(part), "{args:?}: {said}");
        assert!(!dir.path().join("x").exists() && !said.contains("panicked"));
    }
    Ok(())
}
