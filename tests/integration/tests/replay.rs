//! `unipic replay`: an image is made again from its own file, and every file that is none of ours is refused.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use base64::Engine;
use integration::processes::{Process, binary, model};
use integration::unipic::{Ran, unipic, unipic_with};
use serde_json::{Value, json};
use unipic_imaging::{Format, Rgb8, encode, read_png_text};

const CHEAP: [&str; 8] = ["--seed", "7", "--size", "64x64", "--iterations", "3", "--head-steps", "2"];

async fn node(dir: &Path) -> anyhow::Result<Process> {
    let mut node = Process::start(&binary("unipic-node")?, &[], "", dir)?;
    node.ready().await?;
    Ok(node)
}

/// `unipic ARGS --server URL`.
fn call(dir: &Path, node: &Process, args: &[&str]) -> anyhow::Result<Ran> {
    unipic(dir, &[args, &["--server", &node.url()]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_made_again_to_the_last_byte() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (dir, node) = (dir.path(), node(dir.path()).await?);
    let draw = ["generate", "a „red“ circle", "-o", "a.png", "--n", "3", "--negative", "rain"];
    call(dir, &node, &[&draw[..], &CHEAP].concat())?.ended(0)?;
    let again = call(dir, &node, &["replay", "a-2.png", "-o", "again.png", "--json"])?.ended(0)?;
    assert_eq!(again.event("done")?["equal"], true);
    assert!(std::fs::read(dir.join("a-2.png"))? == std::fs::read(dir.join("again.png"))?);
    // By a node of its own, and from a pipe.
    let piped = unipic_with(dir, &["replay", "-"], &std::fs::read(dir.join("a-0.png"))?)?.ended(0)?;
    assert!(piped.text()?.contains("the same to the last byte") && piped.text()?.contains("seed 7"), "{piped:?}");

    // One pixel is another, the record is the same.
    let file = std::fs::read(dir.join("a-1.png"))?;
    let mut pixels = unipic_imaging::decode(&file, &unipic_imaging::DecodeLimits::default())?;
    pixels.data[0] ^= 1;
    std::fs::write(dir.join("touched.png"), with_text(&pixels, &[(KEY, &record_text(&file)?)])?)?;
    let touched = call(dir, &node, &["replay", "touched.png", "--json"])?.ended(1)?;
    let difference = &touched.event("done")?["difference"]["pixels"];
    assert_eq!(*difference, json!({ "n": 1, "of": 4096, "most": 1 }));
    assert!(touched.said.contains("1 of 4096 pixels differ"), "{touched:?}");
    node.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_came_over_http_is_made_again_too() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (dir, node) = (dir.path(), node(dir.path()).await?);
    let asked = json!({ "prompt": "a blue star", "size": "64x64", "iterations": 3, "head_steps": 2 }).to_string();
    let port = node.http_port.context("an HTTP port")?;
    let answer = tokio::task::spawn_blocking(move || post(port, "/v1/images/generations", &asked)).await??;
    let data = answer["data"][0]["b64_json"].as_str().context("an image")?;
    std::fs::write(dir.join("http.png"), base64::engine::general_purpose::STANDARD.decode(data)?)?;
    call(dir, &node, &["replay", "http.png"])?.ended(0)?;
    node.stop().await
}

/// One request over HTTP/1.1, and the JSON that it is answered with.
fn post(port: u16, path: &str, body: &str) -> anyhow::Result<Value> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n");
    write!(stream, "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    Ok(serde_json::from_str(body)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_needs_the_image_it_changed() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (dir, node) = (dir.path(), node(dir.path()).await?);
    std::fs::write(dir.join("source.png"), encode(&Rgb8::filled(80, 60, [200, 20, 20]), Format::Png, &[])?)?;
    std::fs::write(dir.join("other.png"), encode(&Rgb8::filled(80, 60, [20, 20, 200]), Format::Png, &[])?)?;
    call(dir, &node, &[&["edit", "source.png", "make it green", "-o", "e.png"][..], &CHEAP].concat())?.ended(0)?;
    let without = call(dir, &node, &["replay", "e.png"])?.ended(2)?;
    assert!(without.said.contains("--image") && without.said.contains("SHA-256"), "{without:?}");
    let other = call(dir, &node, &["replay", "e.png", "--image", "other.png"])?.ended(2)?;
    assert!(other.said.contains("other.png") && other.said.contains("--anyway"), "{other:?}");
    call(dir, &node, &["replay", "e.png", "--image", "source.png"])?.ended(0)?;
    let anyway = call(dir, &node, &["replay", "e.png", "--image", "other.png", "--anyway"])?.ended(1)?;
    assert!(anyway.said.contains("not the same"), "{anyway:?}");
    call(dir, &node, &[&["generate", "a star", "-o", "g.png"][..], &CHEAP].concat())?.ended(0)?;
    let needless = call(dir, &node, &["replay", "g.png", "--image", "source.png"])?.ended(2)?;
    assert!(needless.said.contains("leave out --image"), "{needless:?}");
    node.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_part_needs_its_mask_and_remembers_margins() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (dir, node) = (dir.path(), node(dir.path()).await?);
    let mut mask = Rgb8::filled(64, 64, [0; 3]);
    mask.data[..64 * 32 * 3].fill(255);
    for (name, pixels) in [("mask.png", &mask), ("other.png", &Rgb8::filled(64, 64, [255; 3]))] {
        std::fs::write(dir.join(name), encode(pixels, Format::Png, &[])?)?;
    }
    std::fs::write(dir.join("source.png"), encode(&Rgb8::filled(64, 64, [200, 20, 20]), Format::Png, &[])?)?;
    let edit =
        ["edit", "source.png", "a star", "-o", "e.png", "--mask", "mask.png", "--feather", "4", "--extend", "left=16"];
    call(dir, &node, &[&edit[..], &CHEAP].concat())?.ended(0)?;
    let replay = ["replay", "e.png", "--image", "source.png"];
    let without = call(dir, &node, &replay)?.ended(2)?;
    assert!(without.said.contains("--mask") && without.said.contains("SHA-256"), "{without:?}");
    let other = call(dir, &node, &[&replay[..], &["--mask", "other.png"]].concat())?.ended(2)?;
    assert!(other.said.contains("is not the mask") && other.said.contains("--anyway"), "{other:?}");
    call(dir, &node, &[&replay[..], &["--mask", "mask.png"]].concat())?.ended(0)?;
    call(dir, &node, &[&["generate", "a star", "-o", "g.png"][..], &CHEAP].concat())?.ended(0)?;
    let needless = call(dir, &node, &["replay", "g.png", "--mask", "mask.png"])?.ended(2)?;
    assert!(needless.said.contains("leave out --mask"), "{needless:?}");
    node.stop().await
}

#[test]
fn another_model_is_refused_by_its_hash() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let model = model();
    let model = model.to_str().context("a UTF-8 path")?;
    let draw = ["generate", "a star", "-o", "nano.png"];
    unipic(dir.path(), &[&draw[..], &CHEAP].concat())?.ended(0)?;
    let refused = unipic(dir.path(), &["replay", "nano.png", "--model", model])?.ended(2)?;
    for part in ["another model (nano)", "weights", "--model or --server", "--anyway"] {
        assert!(refused.said.contains(part), "{part} is not in {}", refused.said);
    }
    let anyway = unipic(dir.path(), &["replay", "nano.png", "--model", model, "--anyway"])?.ended(1)?;
    assert!(anyway.said.contains("pixels differ"), "{anyway:?}");
    Ok(())
}

const KEY: &str = "unipic";

fn record_text(file: &[u8]) -> anyhow::Result<String> {
    let text = read_png_text(file)?;
    Ok(text.into_iter().find(|(key, _)| key == KEY).context("no record")?.1)
}

fn with_text(image: &Rgb8, text: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
    Ok(encode(image, Format::Png, text)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_bad_records_are_refused_and_say_why() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (dir, node) = (dir.path(), node(dir.path()).await?);
    call(dir, &node, &[&["generate", "a star", "-o", "good.png"][..], &CHEAP].concat())?.ended(0)?;
    let file = std::fs::read(dir.join("good.png"))?;
    let (image, good) = (Rgb8::filled(8, 8, [0; 3]), record_text(&file)?);
    let forged = |field: &str, value: Value| -> anyhow::Result<Vec<u8>> {
        let mut record: Value = serde_json::from_str(&good)?;
        record[field] = value;
        with_text(&image, &[(KEY, &record.to_string())])
    };
    let jpeg = encode(&image, Format::Jpeg, &[])?;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "only PNG files"),
        ("a text", b"hello".to_vec(), "only PNG files"),
        ("a JPEG", jpeg, "only PNG files"),
        ("half a header", file[..20].to_vec(), "PNG"),
        ("no text", with_text(&image, &[])?, "carries no record"),
        (
            "another program's",
            with_text(&image, &[("Software", "gimp"), ("parameters", "ä\u{2603}")])?,
            "\"parameters\"",
        ),
        ("two records", with_text(&image, &[(KEY, &good), (KEY, &good)])?, "2 records"),
        ("no JSON", with_text(&image, &[(KEY, "\u{1b}[2J")])?, "cannot be read"),
        ("a list", with_text(&image, &[(KEY, "[1, 2]")])?, "cannot be read"),
        ("half a record", with_text(&image, &[(KEY, &good[..good.len() / 2])])?, "cannot be read"),
        ("an unknown field", forged("mask", json!(1))?, "mask"),
        ("a huge number", forged("image", json!(u32::MAX))?, "image 4294967295"),
        ("many iterations", forged("iterations", json!(u32::MAX))?, "iterations"),
        ("a huge side", forged("width", json!(4_294_967_280_u32))?, "4294967280"),
        ("no side", forged("height", json!(0))?, "height"),
        ("an infinite guidance", forged("guidance_scale", json!(1e300))?, "guidance_scale"),
        ("a negative temperature", forged("temperature", json!(-1.0))?, "temperature"),
        ("a long prompt", forged("prompt", json!("x".repeat(1 << 20)))?, "prompt"),
        ("an empty prompt", forged("prompt", json!(""))?, "prompt"),
        ("other weights", forged("weights_sha256", json!("\u{1b}[31m"))?, "\\u{1b}[31m"),
        ("another version", forged("version", json!("99.0.0"))?, "99.0.0"),
        ("an edit of nothing", forged("task", json!("edit"))?, "names no source"),
        ("a drawing of something", forged("source", json!({"sha256": "00", "crop": [0, 0, 1, 1]}))?, "names a source"),
    ];
    for (name, file, expected) in cases {
        std::fs::write(dir.join("bad.png"), file)?;
        let refused = call(dir, &node, &["replay", "bad.png"])?;
        assert_eq!(refused.status, Some(2), "{name}: {refused:?}");
        assert!(refused.said.contains(expected), "{name}: {expected} is not in {}", refused.said);
        assert!(!refused.said.contains('\u{1b}') && !refused.said.contains("panicked"), "{name}: {refused:?}");
    }
    assert_eq!(call(dir, &node, &["replay", "missing.png"])?.status, Some(2));
    assert_eq!(call(dir, &node, &["replay", "good.png", "-o", "a.jpg"])?.status, Some(2));
    node.stop().await
}
