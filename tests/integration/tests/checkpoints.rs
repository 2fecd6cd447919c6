//! `unipic model`: a released folder is used as it is or converted, and gives the same pictures either way.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use integration::processes::{binary, model};

fn unipic(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(binary("unipic")?).args(args).current_dir(dir).output().context("run unipic")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "unipic {args:?} ended with {}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The small model as it would be released: pickles, and no safetensors.
fn released(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir.join("released/checkpoint"))?;
    for name in ["config.json", "tokenizer.json", "checkpoint/pytorch_model.bin", "checkpoint/kl16.ckpt"] {
        std::fs::copy(model().join(name), dir.join("released").join(name))?;
    }
    Ok(())
}

#[test]
fn a_released_folder_its_conversion_and_the_original_draw_the_same() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    released(dir.path())?;
    unipic(dir.path(), &["model", "convert", "released", "converted"])?;
    let original = model();
    let original = original.to_str().context("a UTF-8 path")?;
    let draw = |model: &str, out: &str| -> anyhow::Result<Vec<u8>> {
        let sampling = ["--seed", "2", "--size", "64x64", "--iterations", "3", "--head-steps", "4"];
        unipic(dir.path(), &[&["generate", "a star", "-o", out, "--model", model][..], &sampling].concat())?;
        Ok(std::fs::read(dir.path().join(out))?)
    };
    let expected = draw(original, "original.png")?;
    assert!(draw("released", "released.png")? == expected, "the released folder draws something else");
    assert!(draw("converted", "converted.png")? == expected, "the converted folder draws something else");
    let again = Command::new(binary("unipic")?)
        .args(["model", "convert", "released", "converted"])
        .current_dir(dir.path())
        .output()?;
    assert!(!again.status.success(), "a conversion never writes over a folder");
    Ok(())
}

#[test]
fn a_random_checkpoint_is_inspected_and_used() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    unipic(dir.path(), &["model", "random", "--preset", "tiny", "random"])?;
    let said = unipic(dir.path(), &["model", "inspect", "random", "--size", "128x64", "--json"])?;
    let inspected: serde_json::Value = serde_json::from_str(said.trim())?;
    assert_eq!(inspected["plan"].as_array().map(Vec::len), Some(6), "{inspected}");
    assert!(inspected["peak_bytes"].as_u64() > Some(1 << 20));
    assert_eq!(inspected["prefix_cache_bytes"], 512 << 20);
    assert_eq!(inspected["surplus"], serde_json::json!([]));
    unipic(dir.path(), &["generate", "x", "-o", "x.webp", "--model", "random", "--iterations", "2"])?;
    assert!(std::fs::read(dir.path().join("x.webp"))?.starts_with(b"RIFF"));
    Ok(())
}
