//! The three flows from the command line, through four processes and through one, give the same bytes.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use integration::processes::{Process, Split, binary, model};
use unipic_imaging::{DecodeLimits, Format, Rgb8};

/// Runs `unipic` and returns what it printed; a failure carries what it said.
fn unipic(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = attempt(dir, args)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "unipic {args:?} ended with {}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn attempt(dir: &Path, args: &[&str]) -> anyhow::Result<Output> {
    Command::new(binary("unipic")?).args(args).current_dir(dir).output().context("run unipic")
}

/// What the mask of these tests marks: a part that begins and ends within places.
fn is_marked(x: u32, y: u32) -> bool {
    (24..64).contains(&x) && (10..40).contains(&y)
}

/// The file of an image that is white where the mask is marked.
fn write_mask(file: &Path, width: u32, height: u32) -> anyhow::Result<()> {
    let pixel = |i: u32| [if is_marked(i % width, i / width) { 255 } else { 0 }; 3];
    let mask = Rgb8::new(width, height, (0..width * height).flat_map(pixel).collect())?;
    Ok(std::fs::write(file, unipic_imaging::encode(&mask, Format::Png, &[])?)?)
}

fn pixels(dir: &Path, name: &str) -> anyhow::Result<Rgb8> {
    Ok(unipic_imaging::decode(&std::fs::read(dir.join(name))?, &DecodeLimits::default())?)
}

/// The source lies in the result bit for bit, with a margin of 16 pixels on the left and one of 32 below.
fn check_inside(dir: &Path, source: &str, extended: &str) -> anyhow::Result<()> {
    let (source, extended) = (pixels(dir, source)?, pixels(dir, extended)?);
    ensure!((extended.width, extended.height) == (80, 96), "{extended:?}");
    for (y, row) in source.data.chunks(64 * 3).enumerate() {
        ensure!(extended.data[(y * 80 + 16) * 3..][..64 * 3] == *row, "row {y} of the source changed");
    }
    Ok(())
}

/// What was not marked is the source's, bit for bit; what was is not.
fn check_outside(dir: &Path, source: &str, redrawn: &str) -> anyhow::Result<()> {
    let (source, redrawn) = (pixels(dir, source)?, pixels(dir, redrawn)?);
    let mut changed = 0;
    for (i, (was, is)) in (0..).zip(source.data.chunks(3).zip(redrawn.data.chunks(3))) {
        let (x, y) = (i % source.width, i / source.width);
        ensure!(was == is || is_marked(x, y), "pixel {x},{y} changed, which is outside the mask");
        changed += usize::from(was != is);
    }
    ensure!(changed > 600, "only {changed} of 1200 pixels inside the mask changed");
    Ok(())
}

/// Draws two images, edits the first, redraws a part of it and asks about the result; returns the files' bytes and the
/// answer.
fn use_all_flows(dir: &Path, name: &str, target: &[&str]) -> anyhow::Result<(Vec<Vec<u8>>, String)> {
    let sampling = ["--seed", "5", "--size", "64x64", "--iterations", "4", "--head-steps", "5"];
    let drawn = format!("{name}.png");
    let with = |args: &[&str]| -> Vec<String> { args.iter().chain(target).map(|a| (*a).to_owned()).collect() };
    let call = |args: Vec<String>| unipic(dir, &args.iter().map(String::as_str).collect::<Vec<_>>());
    call(with(&[&["generate", "a red circle", "-o", &drawn, "--n", "2"][..], &sampling].concat()))?;
    let (first, second) = (format!("{name}-0.png"), format!("{name}-1.png"));
    let edited = format!("{name}-edited.png");
    call(with(&[&["edit", &first, "make it blue", "-o", &edited][..], &sampling].concat()))?;
    let redrawn = format!("{name}-redrawn.png");
    let masked = ["edit", &first, "make it blue", "-o", &redrawn, "--mask", "mask.png", "--feather", "3"];
    call(with(&[&masked[..], &sampling].concat()))?;
    check_outside(dir, &first, &redrawn)?;
    let extended = format!("{name}-extended.png");
    let around = ["edit", &redrawn, "more sky", "-o", &extended, "--extend", "left=16,bottom=32", "--seed", "5"];
    call(with(&[&around[..], &sampling[4..]].concat()))?;
    check_inside(dir, &redrawn, &extended)?;
    let answer = call(with(&["describe", &edited, "What is this?", "--max-tokens", "8"]))?;
    let files = [first, second, edited, redrawn, extended]
        .iter()
        .map(|f| std::fs::read(dir.join(f)))
        .collect::<Result<_, _>>()?;
    Ok((files, answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_one_process_and_no_server_give_the_same_bytes() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    write_mask(&dir.path().join("mask.png"), 64, 64)?;
    let split = Split::start(dir.path(), "").await?;
    let url = split.gateway.url();
    let remote = use_all_flows(dir.path(), "split", &["--server", &url])?;
    split.stop().await?;

    let config = format!("model = {:?}\n", model());
    let mut node = Process::start(&binary("unipic-node")?, &[], &config, dir.path())?;
    node.ready().await?;
    let local = use_all_flows(dir.path(), "node", &["--server", &node.url()])?;
    node.stop().await?;

    let model = model();
    let alone = use_all_flows(dir.path(), "alone", &["--model", model.to_str().context("a UTF-8 path")?])?;
    assert_eq!(remote.1, local.1, "answers differ between four processes and one");
    assert_eq!(remote.1, alone.1, "answers differ between a server and none");
    assert!(remote.0 == local.0, "images differ between four processes and one");
    assert!(remote.0 == alone.0, "images differ between a server and none");
    assert!(remote.0[0] != remote.0[1], "both images of a request are the same");
    Ok(())
}

#[test]
fn an_image_is_the_same_alone_among_n_and_twice() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let model = model();
    let model = model.to_str().context("a UTF-8 path")?;
    let draw = |out: &str, n: &str| {
        let sampling = ["--seed", "9", "--size", "64x48", "--iterations", "3", "--head-steps", "4"];
        let args = ["generate", "two stars", "-o", out, "--n", n, "--model", model];
        unipic(dir.path(), &[&args[..], &sampling].concat())
    };
    draw("once.png", "1")?;
    draw("twice.png", "1")?;
    draw("three.png", "3")?;
    let pixels = |name: &str| -> anyhow::Result<Vec<u8>> { Ok(decode(&std::fs::read(dir.path().join(name))?)) };
    assert!(std::fs::read(dir.path().join("once.png"))? == std::fs::read(dir.path().join("twice.png"))?);
    assert!(pixels("once.png")? == pixels("three-0.png")?, "image 0 differs alone and among three");
    Ok(())
}

/// The image data of a PNG, without its metadata: the bytes of its IDAT chunks.
fn decode(png: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut rest = &png[8..];
    while rest.len() >= 12 {
        let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        if &rest[4..8] == b"IDAT" {
            data.extend_from_slice(&rest[8..8 + length]);
        }
        rest = &rest[12 + length..];
    }
    data
}

#[test]
fn a_mistake_is_told_with_its_field_and_a_failing_status() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let model = model();
    let model = model.to_str().context("a UTF-8 path")?;
    let output = attempt(
        dir.path(),
        &["generate", "a", "-o", "x.png", "--size", "65x64", "--iterations", "0", "--model", model],
    )?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("--size") && said.contains("--iterations"), "both mistakes are named: {said}");
    assert!(!dir.path().join("x.png").exists());
    std::fs::write(dir.path().join("broken.png"), b"\x89PNG\r\n\x1a\nnot really")?;
    let output = attempt(dir.path(), &["describe", "broken.png", "--model", model])?;
    assert!(!output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("panicked"));
    let output = attempt(dir.path(), &["describe", "missing.png", "--model", model])?;
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing.png"));
    Ok(())
}

#[test]
fn masks_that_cannot_be_used_are_refused_before_any_work() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let model = model();
    let model = model.to_str().context("a UTF-8 path")?;
    write_mask(&dir.path().join("image.png"), 64, 64)?;
    write_mask(&dir.path().join("wide.png"), 80, 64)?;
    write_mask(&dir.path().join("black.png"), 20, 9)?;
    std::fs::write(dir.path().join("broken.png"), b"no image")?;
    for (image, mask, status, part) in [
        ("image.png", &["--mask", "wide.png"][..], 2, "the mask is 80x64 pixels, the image 64x64"),
        ("black.png", &["--mask", "black.png"], 2, "marks no pixel"),
        ("image.png", &["--mask", "broken.png"], 2, "--mask: cannot be used as a mask"),
        ("image.png", &["--mask", "image.png", "--mask-marks", "transparent"], 2, "no alpha channel"),
        ("image.png", &["--mask", "image.png", "--feather", "300"], 2, "between 0 and 256"),
        ("image.png", &["--mask", "missing.png"], 2, "missing.png"),
        ("-", &["--mask", "-"], 2, "cannot both be `-`"),
        ("image.png", &["--feather", "3"], 2, "needs a mask or margins"),
        ("image.png", &["--extend", "64"], 2, "SIDE=PIXELS"),
        ("image.png", &["--extend", "left=40000"], 2, "makes 40064x64 pixels"),
    ] {
        let args = [&["edit", image, "blue", "-o", "x.png", "--model", model], mask].concat();
        let output = attempt(dir.path(), &args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{mask:?}: {said}");
        assert!(said.contains(part) && !dir.path().join("x.png").exists(), "{mask:?}: {said}");
    }
    Ok(())
}
