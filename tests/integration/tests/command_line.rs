//! What scripts and shells build on: exit statuses, standard input and output, completions, manual pages, the terminal.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use integration::processes::{binary, model};
use integration::unipic::{Ran, start, unipic, unipic_with};
use serde_json::{Value, json};
use unipic_imaging::{DecodeLimits, Format, Rgb8, decode, encode};

const CHEAP: [&str; 8] = ["--seed", "7", "--size", "32x32", "--iterations", "2", "--head-steps", "2"];

#[test]
fn exit_statuses_are_those_of_the_help() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let help = unipic(dir, &["--help"])?.ended(0)?;
    for line in ["  0    everything", "  1    it failed", "  2    the request", "  3    the server", "  130  stopped"] {
        assert!(help.text()?.contains(line), "{line} is not in {help:?}");
    }
    std::fs::write(dir.join("text.png"), "hello")?;
    let nobody = "http://127.0.0.1:1";
    let tiny = model();
    let tiny = tiny.to_str().context("a UTF-8 path")?;
    let cases: Vec<(Vec<&str>, i32)> = vec![
        (vec!["generate", "a star", "--sede", "1"], 2),
        (vec!["generate", "a star", "-o", "a.gif"], 2),
        (vec!["generate", "a star", "-o", "nowhere/a.png"], 2),
        (vec!["generate", "a star", "--json", "-o", "-"], 2),
        (vec!["generate", "a star", "--n", "2", "-o", "-"], 2),
        (vec!["generate", "a star", "--size", "33x33", "--model", tiny], 2),
        (vec!["generate", "a star", "--server", "not an address"], 2),
        (vec!["generate", "a star", "--server", nobody], 3),
        (vec!["generate", "a star", "--model", "missing"], 2),
        (vec!["serve", "--config", "missing.toml"], 2),
        (vec!["train", "missing", "--run", "run"], 2),
        (vec!["edit", "missing.png", "make it green", "--server", nobody], 2),
        (vec!["generate", "a star", "--server", nobody, "--api-key", "two words"], 2),
        (vec!["generate", "a star", "--server", "https://127.0.0.1:1", "--ca", "missing.pem"], 2),
        (vec!["edit", "text.png", "make it green", "--model", tiny], 2),
        (vec!["describe", "missing.png", "--server", nobody], 2),
        (vec!["describe", "-", "--image", "-", "--server", nobody], 2),
        (vec!["replay", "missing.png"], 2),
        (vec!["model", "inspect", "missing"], 2),
        (vec!["chat", "--server", nobody], 3),
        (vec!["replay", "text.png"], 2),
        (vec!["health", "--server", nobody], 3),
        (vec!["completions", "bash"], 0),
    ];
    for (args, status) in cases {
        let ran = unipic(dir, &args)?;
        assert_eq!(ran.status, Some(status), "{args:?}: {}", ran.said);
        assert!(status == 0 || ran.said.contains("error: "), "{args:?}: {}", ran.said);
        assert!(!ran.said.contains("panicked"), "{args:?}: {}", ran.said);
    }
    Ok(())
}

#[test]
fn prompts_and_images_go_through_pipes() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    unipic(dir, &[&["generate", "a red circle", "-o", "file.png"][..], &CHEAP].concat())?.ended(0)?;
    let drawn = unipic_with(dir, &[&["generate", "-", "-o", "-"][..], &CHEAP].concat(), b"a red circle\n")?.ended(0)?;
    assert!(drawn.out == std::fs::read(dir.join("file.png"))?, "the pipe carries another image than the file");
    let edited = unipic_with(dir, &[&["edit", "-", "make it green", "-o", "-"][..], &CHEAP].concat(), &drawn.out)?;
    let edited = edited.ended(0)?;
    assert_eq!(decode(&edited.out, &DecodeLimits::default())?.width, 32);
    let said = unipic_with(dir, &["describe", "-", "--max-tokens", "4"], &edited.out)?.ended(0)?;
    assert!(!said.text()?.trim().is_empty());
    let sheet =
        unipic(dir, &[&["generate", "a star", "-o", "-", "--n", "3", "--grid"][..], &CHEAP].concat())?.ended(0)?;
    let sheet = decode(&sheet.out, &DecodeLimits::default())?;
    assert_eq!((sheet.width, sheet.height), (32 + 4 + 32, 32 + 4 + 32));
    // The other end of the pipe is gone.
    let draw = format!("generate 'a star' --json {}", CHEAP.join(" "));
    for args in [draw.as_str(), "describe file.png", "completions bash"] {
        let shell = format!("{} {args} | head -c 1", binary("unipic")?.display());
        let ran: Ran = Command::new("sh").args(["-c", &shell]).current_dir(dir).stdin(Stdio::null()).output()?.into();
        assert!(!ran.said.contains("panicked") && !ran.said.contains("error"), "{args}: {ran:?}");
    }
    Ok(())
}

#[test]
fn a_question_can_be_about_several_images() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let (red, blue) = (Rgb8::filled(32, 32, [255, 0, 0]), Rgb8::filled(32, 32, [0, 0, 255]));
    for (name, image) in [("a.png", &red), ("b.png", &blue)] {
        std::fs::write(dir.join(name), encode(image, Format::Png, &[])?)?;
    }
    std::fs::write(dir.join("text.png"), "hello")?;
    let ask = |args: &[&str]| {
        unipic(dir, &[&["describe"][..], args, &["What is it?", "--max-tokens", "4", "--json"]].concat())
    };
    let tokens = |ran: Ran| -> anyhow::Result<u64> {
        ran.ended(0)?.event("done")?["prompt_tokens"].as_u64().context("a number of tokens")
    };
    let (one, two) = (tokens(ask(&["a.png"])?)?, tokens(ask(&["a.png", "-i", "b.png"])?)?);
    assert!(two > one, "{one} tokens with one image, {two} with two");
    let piped = ["describe", "a.png", "--image", "-", "What is it?", "--max-tokens", "4", "--json"];
    assert_eq!(tokens(unipic_with(dir, &piped, &std::fs::read(dir.join("b.png"))?)?)?, two);
    // The one that is none is named as it was typed.
    let wrong = ask(&["a.png", "--image", "b.png", "--image", "text.png"])?.ended(2)?;
    assert!(wrong.said.contains(": text.png: ") && !wrong.said.contains("turns"), "{wrong:?}");
    Ok(())
}

#[test]
fn a_refusal_is_an_event_too_and_names_flags() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    std::fs::write(dir.join("a.png"), encode(&Rgb8::filled(32, 32, [0; 3]), Format::Png, &[])?)?;
    let cases: [(&[&str], &str); 6] = [
        (&["generate", "a star", "--iterations", "0"], "--iterations"),
        (&["generate", "a star", "--size", "33x33"], "--size"),
        (&["generate", "a star", "--sede", "1"], "--sede"),
        (&["describe", "a.png", "--max-tokens", "0"], "--max-tokens"),
        (&["edit", "a.png", "make it green", "--mask", "missing.png"], "missing.png"),
        (&["replay", "a.png"], "no record"),
    ];
    for (args, part) in cases {
        let ran = unipic(dir, &[args, &["--json"]].concat())?.ended(2)?;
        let events = ran.events()?;
        let errors: Vec<_> = events.iter().filter(|event| event["event"] == "error").collect();
        let [error] = errors.as_slice() else { anyhow::bail!("{args:?}: {ran:?}") };
        assert_eq!(error["status"], 2, "{args:?}: {error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(part)), "{args:?}: {error}");
        assert!(ran.said.contains("error: ") && ran.said.contains(part), "{args:?}: {ran:?}");
        // Both sides of a size are one flag.
        assert_eq!(ran.said.matches("must be a multiple").count(), usize::from(part == "--size"), "{ran:?}");
    }
    let refused = unipic(dir, &["generate", "a star", "--iterations", "0", "--json"])?.event("error")?;
    assert_eq!(
        (&refused["code"], &refused["fields"][0]["field"]),
        (&"INVALID_ARGUMENT".into(), &"--iterations".into())
    );
    Ok(())
}

#[test]
fn a_variable_stands_in_for_a_flag_and_contradicts_none() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let run = |variables: &[(&str, &str)], args: &[&str]| -> anyhow::Result<Ran> {
        let mut command = Command::new(binary("unipic")?);
        for name in ["UNIPIC_SERVER", "UNIPIC_MODEL", "UNIPIC_API_KEY", "UNIPIC_PREVIEW"] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied()).args(args).current_dir(dir.path()).stdin(Stdio::null());
        Ok(command.output()?.into())
    };
    let draw = [&["generate", "a star", "-o", "a.png"][..], &CHEAP].concat();
    let with = |more: &[&'static str]| [&draw[..], more].concat();
    let nobody = ("UNIPIC_SERVER", "http://127.0.0.1:1");
    let missing = ("UNIPIC_MODEL", "missing");
    let empty = ["UNIPIC_SERVER", "UNIPIC_MODEL", "UNIPIC_API_KEY", "UNIPIC_PREVIEW"].map(|name| (name, ""));
    run(&empty, &draw)?.ended(0)?;
    run(&[nobody], &draw)?.ended(3)?;
    run(&[missing], &draw)?.ended(2)?;
    // What was typed counts, and beside a server no model.
    run(&[nobody], &with(&["--model", "nano"]))?.ended(0)?;
    run(&[nobody, missing], &with(&["--linear", "dense", "--model", "nano"]))?.ended(0)?;
    run(&[missing], &with(&["--server", nobody.1]))?.ended(3)?;
    run(&[nobody, missing], &draw)?.ended(3)?;
    let both = run(&[], &with(&["--server", nobody.1, "--model", "nano"]))?.ended(2)?;
    assert!(both.said.contains("cannot be used with"), "{both:?}");
    let typed = run(&[], &with(&["--server", ""]))?.ended(2)?;
    assert!(typed.said.contains("no server address"), "{typed:?}");
    Ok(())
}

#[test]
fn ctrl_c_is_answered_with_a_word() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let args = ["generate", "a star", "--size", "256x256", "--iterations", "64", "--head-steps", "100", "--json"];
    let mut child = start(dir.path(), &args)?;
    let mut stdout = BufReader::new(child.stdout.take().context("standard output")?);
    let mut line = String::new();
    // Once an iteration is done, the rest is under way.
    stdout.read_line(&mut line)?;
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    assert!(sent.success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest)?;
    let ran = Ran::from(child.wait_with_output()?).ended(130)?;
    assert_eq!(ran.said, "stopped\n", "{line}{rest}");
    let last: Value = serde_json::from_str(rest.lines().last().unwrap_or(&line))?;
    assert_eq!(last, json!({ "event": "error", "message": "stopped", "status": 130 }));
    assert!(std::fs::read_dir(dir.path())?.next().is_none(), "something was left behind");
    Ok(())
}

#[test]
fn a_grid_is_written_beside_its_images() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let ran =
        unipic(dir, &[&["generate", "a star", "-o", "s.webp", "--n", "2", "--grid", "--json"][..], &CHEAP].concat())?;
    let ran = ran.ended(0)?;
    let grid = ran.event("grid")?;
    assert_eq!((&grid["path"], &grid["images"]), (&"s.webp".into(), &2.into()));
    let image =
        |name: &str| -> anyhow::Result<_> { Ok(decode(&std::fs::read(dir.join(name))?, &DecodeLimits::default())?) };
    let (sheet, first, second) = (image("s.webp")?, image("s-0.webp")?, image("s-1.webp")?);
    assert_eq!((sheet.width, sheet.height), (32 + 4 + 32, 32));
    assert_eq!((&sheet.data[..96], &sheet.data[36 * 3..68 * 3]), (&first.data[..96], &second.data[..96]));
    let one = unipic(dir, &[&["generate", "a star", "-o", "one.png", "--grid"][..], &CHEAP].concat())?.ended(0)?;
    assert!(!one.said.contains("images)") && dir.join("one.png").is_file(), "{one:?}");
    Ok(())
}

#[test]
fn shells_complete_and_manuals_describe_every_command() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let commands =
        ["generate", "edit", "describe", "chat", "batch", "replay", "serve", "health", "train", "completions"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = unipic(dir, &["completions", shell])?.ended(0)?;
        for command in commands {
            assert!(script.text()?.contains(command), "{shell}: {command}");
        }
        std::fs::write(dir.join(shell), &script.out)?;
    }
    let asked = "source ./bash; COMP_WORDS=(unipic rep); COMP_CWORD=1; _unipic unipic rep unipic; echo ${COMPREPLY[*]}";
    let completed: Ran = Command::new("bash").args(["-c", asked]).current_dir(dir).output()?.into();
    assert_eq!(completed.text()?.trim(), "replay", "{completed:?}");
    assert_eq!(unipic(dir, &["completions", "tcsh"])?.status, Some(2));

    unipic(dir, &["man", "pages/man1"])?.ended(0)?;
    for command in commands {
        let page = std::fs::read_to_string(dir.join(format!("pages/man1/unipic-{command}.1")))?;
        assert!(page.contains(".TH") && page.contains(".SH OPTIONS"), "{command}");
    }
    for (command, part) in [("batch", "failed.jsonl"), ("chat", "/edit"), ("replay", "--anyway"), ("top", "[ops]")] {
        let help = unipic(dir, &[command, "--help"])?.ended(0)?;
        assert!(help.text()?.contains(part), "{command}: {part} is not in {help:?}");
        let listed = unipic(dir, &["--help"])?.ended(0)?;
        assert!(
            listed.text()?.lines().any(|line| line.trim().starts_with(&format!("{command} "))),
            "{command}: {listed:?}"
        );
    }
    for command in ["generate", "edit", "describe", "chat", "batch", "replay", "serve", "train", "eval"] {
        let help = unipic(dir, &[command, "--help"])?.ended(0)?;
        assert!(help.text()?.contains(&format!("Examples:\n  unipic {command}")), "{command}: {help:?}");
    }
    let page = std::fs::read_to_string(dir.join("pages/man1/unipic.1"))?;
    assert!(page.contains("Exit status") && page.contains("trying again may help"), "{page}");
    std::fs::write(dir.join("file"), "")?;
    assert_eq!(unipic(dir, &["man", "file/man1"])?.status, Some(1));
    Ok(())
}

/// Runs `unipic` on a terminal of 80 × 24, by Python's `pty`; returns all that the terminal was sent.
fn on_a_terminal(dir: &Path, variables: &[(&str, &str)], args: &[&str]) -> anyhow::Result<Option<String>> {
    const SCRIPT: &str = "import pty, sys, fcntl, termios, struct\n\
        def read(fd):\n    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))\n    \
        import os\n    return os.read(fd, 65536)\n\
        sys.exit(pty.spawn(sys.argv[1:], read) >> 8)";
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT]).arg(binary("unipic")?).args(args).current_dir(dir).stdin(Stdio::null());
    for name in ["TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "NO_COLOR", "COLORTERM", "UNIPIC_PREVIEW"] {
        command.env_remove(name);
    }
    let Ok(output) = command.envs(variables.iter().copied()).output() else {
        anyhow::ensure!(std::env::var_os("CI").is_none(), "there is no python3");
        eprintln!("SKIPPED: there is no python3");
        return Ok(None);
    };
    let ran = Ran::from(output);
    anyhow::ensure!(ran.status == Some(0), "{ran:?}");
    Ok(Some(String::from_utf8_lossy(&ran.out).into_owned()))
}

#[test]
fn a_terminal_shows_the_image_as_well_as_it_can() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let args = [&["generate", "a red circle", "-o", "a.png"][..], &CHEAP].concat();
    let show = |variables: &[(&str, &str)], more: &[&str]| on_a_terminal(dir, variables, &[&args[..], more].concat());
    let xterm = ("TERM", "xterm-256color");
    let Some(blocks) = show(&[xterm], &[])? else { return Ok(()) };
    assert!(blocks.contains('▀') && blocks.contains("\x1b[38;5;") && blocks.contains("a.png (32×32"), "{blocks:?}");
    let lines = blocks.lines().filter(|line| line.contains('▀'));
    assert!(lines.clone().count() <= 23 && lines.clone().count() > 5);
    let kitty = show(&[("TERM", "xterm-kitty")], &[])?.context("as before")?;
    assert!(kitty.contains("\x1b_Ga=T,f=100,q=2,") && !kitty.contains('▀'), "{kitty:?}");
    let all_colours = show(&[xterm, ("COLORTERM", "truecolor")], &[])?.context("as before")?;
    assert!(all_colours.contains("\x1b[38;2;"), "{all_colours:?}");
    let sixel = show(&[xterm], &["--preview", "sixel"])?.context("as before")?;
    assert!(sixel.contains("\x1bP0;1q"), "{sixel:?}");
    let silent = |variables: &[(&str, &str)], more: &[&str]| -> anyhow::Result<()> {
        let none = show(variables, more)?.context("as before")?;
        assert!(!none.contains('▀') && !none.contains("\x1b_G") && none.contains("a.png (32×32"), "{none:?}");
        Ok(())
    };
    silent(&[xterm, ("NO_COLOR", "1")], &[])?;
    silent(&[("TERM", "dumb")], &[])?;
    silent(&[xterm], &["--preview", "never"])?;
    silent(&[xterm, ("UNIPIC_PREVIEW", "never")], &[])?;
    // Not a terminal, and not asked for.
    assert!(!unipic(dir, &args)?.ended(0)?.said.contains('▀'));
    let asked = unipic(dir, &[&args[..], &["--preview", "blocks"]].concat())?.ended(0)?;
    assert!(asked.said.contains('▀') && asked.out.is_empty());
    Ok(())
}
