//! What scripts and shells build on: exit statuses, standard input and output, completions, manual pages, the terminal.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use integration::processes::{binary, model};
use integration::unipic::{Ran, unipic, unipic_with};
use unipic_imaging::{DecodeLimits, decode};

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
        (vec!["generate", "a star", "--model", "missing"], 1),
        (vec!["edit", "text.png", "make it green", "--model", tiny], 2),
        (vec!["describe", "missing.png", "--server", nobody], 1),
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
    let shell = format!("{} generate 'a star' --json {} | head -c 1", binary("unipic")?.display(), CHEAP.join(" "));
    let ran: Ran = Command::new("sh").args(["-c", &shell]).current_dir(dir).stdin(Stdio::null()).output()?.into();
    assert!(!ran.said.contains("panicked"), "{ran:?}");
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
