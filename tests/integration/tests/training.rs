//! `unipic train`: a run that is interrupted, killed and gone on with ends with the weights of one that was not.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use integration::processes::binary;
use serde_json::Value;

/// Longest wait for a run to come somewhere.
const LIMIT: Duration = Duration::from_secs(120);

/// Both kinds of stages, on the smallest model that has every part.
const RECIPE: &str = r#"
seed = 3
[model]
name = "least"
vae = { ch = 8, ch_mult = [1, 1, 1, 1, 1], num_res_blocks = 1, z_channels = 16, embed_dim = 16, scale = 1.0, norm_groups = 4 }
[model.mar]
embed_dim = 32
depth = 1
num_heads = 2
mlp_ratio = 2
img_size = 32
vae_stride = 16
buffer_size = 2
diffloss_d = 1
diffloss_w = 32
num_sampling_steps = 10
[model.llm]
vocab_size = 600
max_position_embeddings = 1024
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 1
rms_norm_eps = 1e-6
rope_theta = 1e6
tie_word_embeddings = true
[model.siglip]
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 1
num_attention_heads = 2
image_size = 32
patch_size = 16

[[stages]]
name = "autoencoder"
steps = 12
batch = 4
micro_batch = 2
train = ["vae"]
learning_rate = 1e-3
ema = 0.9
save_every = 5
autoencoder = { resolution = 32, crop = 32, kl = 1e-5 }

[[stages]]
name = "joint"
steps = 30
batch = 6
micro_batch = 2
train = ["mar", "projectors", "llm", "siglip2", "siglip2-proj"]
learning_rate = 1e-3
schedule = "cosine"
warm_up = 0.1
ema = 0.9
save_every = 7
[stages.joint]
resolution = 32
mix = { understanding = 1.0, generation = 1.0, editing = 1.0 }
loss_weights = { understanding = 0.1, generation = 1.0, editing = 1.0 }
"#;

/// `unipic train` with its output kept.
fn train(dir: &Path, run: &str, threads: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(binary("unipic")?);
    command.args(["train", "recipe.toml", "--run", run, "--threads", threads, "--json"]).current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// The hash of the model of a run that came to its end.
fn finished(output: &Output) -> anyhow::Result<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "training ended with {}: {said}", output.status);
    let events = String::from_utf8_lossy(&output.stdout).into_owned();
    let last: Value = serde_json::from_str(events.lines().last().context("no event")?)?;
    ensure!(last["event"] == "done", "the last event is {last}");
    Ok(last["sha256"].as_str().context("no hash")?.to_owned())
}

/// Waits until the run has done so many steps of a stage.
fn wait_for(child: &mut Child, metrics: &Path, (stage, step): (u64, u64)) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        let reports = std::fs::read_to_string(metrics).unwrap_or_default();
        let reached = reports
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .any(|report| (report["stage"].as_u64(), report["step"].as_u64()) >= (Some(stage), Some(step)));
        if reached {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("the run ended with {status} before stage {stage}, step {step}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    bail!("stage {stage}, step {step} was not reached within {LIMIT:?}")
}

#[test]
fn a_run_that_was_stopped_and_killed_ends_with_the_same_weights() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("recipe.toml"), RECIPE)?;
    let whole = finished(&train(dir.path(), "whole", "2")?.output()?)?;

    let metrics = dir.path().join("broken/metrics.jsonl");
    let mut child = train(dir.path(), "broken", "2")?.spawn()?;
    wait_for(&mut child, &metrics, (0, 3))?;
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    ensure!(sent.success(), "cannot signal the run");
    let stopped = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(130), "{said}");
    assert!(said.contains("run the same command to go on"), "{said}");

    let mut child = train(dir.path(), "broken", "2")?.spawn()?;
    wait_for(&mut child, &metrics, (1, 9))?;
    child.kill()?;
    let killed = child.wait()?;
    assert!(!killed.success(), "the run was over before it could be killed");
    assert!(!dir.path().join("broken/state.partial").exists() || dir.path().join("broken/state.safetensors").exists());

    // The number of threads is no part of the result.
    let resumed = finished(&train(dir.path(), "broken", "1")?.output()?)?;
    assert_eq!(resumed, whole, "an interrupted run ends with other weights");
    let lines = std::fs::read_to_string(&metrics)?;
    assert_eq!(lines.lines().count(), 42, "every step stands in the metrics once");
    Ok(())
}

#[test]
fn a_recipe_that_cannot_be_used_is_refused_with_its_key() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for (text, key) in [
        (RECIPE.replace("warm_up = 0.1", "warm_up = 1.5"), "warm_up"),
        (RECIPE.replace("batch = 4", "bach = 4"), "bach"),
        (RECIPE.replace("num_heads = 2\nmlp_ratio", "num_heads = 5\nmlp_ratio"), "num_heads"),
    ] {
        std::fs::write(dir.path().join("recipe.toml"), text)?;
        let output = train(dir.path(), "run", "1")?.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(key), "{key} is not named: {said}");
    }
    let output = Command::new(binary("unipic")?).args(["train", "femto", "--run", "run"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("femto") && said.contains("nano"), "{said}");
    Ok(())
}

#[test]
fn rows_that_are_skipped_are_told_with_their_reasons() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let unipic = || -> anyhow::Result<Command> {
        let mut command = Command::new(binary("unipic")?);
        command.current_dir(dir.path());
        Ok(command)
    };
    let drawn =
        unipic()?.args(["data", "shapes", "data", "--n", "4", "--size", "32", "--difficulty", "easy"]).output()?;
    ensure!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let rows = dir.path().join("data/rows.jsonl");
    let good = std::fs::read_to_string(&rows)?;
    std::fs::write(&rows, format!("{good}nonsense\n{{\"image\": \"gone.png\", \"caption\": \"a star\"}}\n"))?;
    let (stage, _) = RECIPE.split_once("[[stages]]\nname = \"joint\"").context("no such stage")?;
    let stage = stage.replace("save_every = 5", "rows = \"data/rows.jsonl\"").replace("steps = 12", "steps = 2");
    std::fs::write(dir.path().join("recipe.toml"), stage)?;
    let output = unipic()?.args(["train", "recipe.toml", "--run", "run", "--threads", "1"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let line = "stage `autoencoder`: 2 rows skipped so far: missing_file 1, unparsable 1; see run/bad-rows.jsonl";
    assert_eq!(said.matches(line).count(), 1, "{said}");
    Ok(())
}

#[test]
fn a_built_in_recipe_is_printed_to_begin_with() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let unipic = |words: &[&str]| -> anyhow::Result<Output> {
        Ok(Command::new(binary("unipic")?).args(words).current_dir(dir.path()).output()?)
    };
    let printed = unipic(&["train", "nano", "--print"])?;
    let text = String::from_utf8(printed.stdout)?;
    ensure!(printed.status.success() && text.starts_with("# nano") && text.contains("[[stages]]"), "{text}");
    let refused = |words: &[&str], part: &str| -> anyhow::Result<()> {
        let output = unipic(words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && said.contains(part), "{words:?}: {said}");
        Ok(())
    };
    refused(&["train", "femto", "--print"], "femto")?;
    refused(&["train", "nano"], "--run")?;
    refused(&["train", "nano", "--print", "--run", "run"], "--run")?;
    let help = unipic(&["train", "--help"])?;
    let help = String::from_utf8_lossy(&help.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "the model of the last finished stage",
        "relative to the directory",
        "<RECIPE> --run <FOLDER>",
        "<RECIPE> --print",
    ] {
        ensure!(help.contains(part), "`{part}` is not in the help: {help}");
    }
    Ok(())
}
