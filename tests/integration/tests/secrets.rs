//! Nothing that a process prints, logs or answers has a key in it, no log what a user asked for, and no answer a path of the
//! server.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot look has failed")]

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use integration::processes::{Process, binary, model};
use integration::unipic::{Ran, unipic};
use serde_json::Value;
use unipic_measures::measured;

const SERVERS: [&str; 5] =
    ["unipic-decoder", "unipic-gateway", "unipic-node", "unipic-synthesis", "unipic-understanding"];

/// What a user asks for, with a word that nobody else says.
const PROMPT: &str = "a star for Wombatopolis";
const WORD: &str = "ombatopolis";

/// A new key, and the lines of a configuration that let it in.
fn new_key(dir: &Path) -> anyhow::Result<(String, String)> {
    let made: Value =
        serde_json::from_str(unipic(dir, &["key", "new", "--tenant", "acme", "--json"])?.ended(0)?.text()?)?;
    let word = |name: &str| made[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {made}"));
    Ok((word("key")?, word("config")?))
}

/// All that a program says to these arguments, with the key where a person keeps it.
fn said(program: &str, dir: &Path, args: &[&str], key: &str) -> anyhow::Result<Ran> {
    let mut command = Command::new(binary(program)?);
    command.args(args).current_dir(dir).env("UNIPIC_API_KEY", key).stdin(Stdio::null());
    Ok(command.output()?.into())
}

/// The commands that `unipic --help` lists.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next())
}

/// Every help text, short and long.
fn help_texts(dir: &Path, key: &str) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    let whole = said("unipic", dir, &["--help"], key)?.ended(0)?;
    for flag in ["-h", "--help"] {
        for command in commands(whole.text()?) {
            texts.push(said("unipic", dir, &[command, flag], key)?.text()?.to_owned());
        }
        for program in SERVERS {
            texts.push(said(program, dir, &[flag], key)?.ended(0)?.text()?.to_owned());
        }
    }
    texts.push(whole.text()?.to_owned());
    Ok(texts)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_in_no_help_log_or_answer_of_a_process() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let ((right, lines), (wrong, _)) = (new_key(dir)?, new_key(dir)?);
    let config = format!("model = {:?}\n[telemetry]\nlog_filter = \"trace\"\n{lines}\n", model());
    let mut node = Process::start(&binary("unipic-node")?, &[], &config, dir)?;
    node.ready().await?;
    let url = node.url();
    let ask = |key: &str, last: &str| {
        let args = ["generate", PROMPT, "-o", "a.png", "--size", "32x32", "--server", &url, "--iterations", last];
        said("unipic", dir, &args, key)
    };
    // Drawn, refused for its key, and refused for what it asks.
    let answers = [ask(&right, "2")?.ended(0)?, ask(&wrong, "2")?.ended(2)?, ask(&right, "1000000")?.ended(2)?];
    let answers = answers.map(|ran| format!("{}{}", String::from_utf8_lossy(&ran.out), ran.said));
    let (help, log) = (help_texts(dir, &right)?, node.log());
    node.stop().await?;

    // It listened.
    ensure!(log.contains("TRACE") && log.contains("unipic.v1.UniPic"), "the log holds little: {log}");
    let keys = [&right, &wrong].map(|key| key.trim_start_matches("unipic_"));
    let texts: Vec<&String> = help.iter().chain(&answers).chain([&log]).collect();
    let n_seen: usize = texts.iter().flat_map(|text| keys.iter().map(|key| text.matches(key).count())).sum();
    let folder = model().display().to_string();
    let n_paths: usize = answers.iter().map(|answer| answer.matches(&folder).count()).sum();
    let n_prompts = log.matches(WORD).count();
    measured!("keys looked for", keys.len());
    measured!("prompts looked for in the log", answers.len());
    measured!("help texts", help.len());
    measured!("answers", answers.len());
    measured!("lines of log at the level of TRACE", log.lines().count());
    measured!("sightings", n_seen + n_paths + n_prompts);
    assert_eq!((n_seen, n_paths, n_prompts), (0, 0, 0));
    Ok(())
}
