//! `unipic chat` from a script: one image goes from line to line, and a bad line costs only itself.

use std::io::{BufRead, BufReader, Write};

use integration::processes::model;
use integration::unipic::{start, unipic, unipic_with};
use unipic_imaging::{DecodeLimits, Format, Rgb8, decode, encode};

const CHAT: [&str; 3] = ["chat", "--seed", "1"];

#[test]
fn a_script_draws_asks_edits_and_saves() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let script = "/draw a red circle\n/save circle.png\nWhat colour is the circle?\nHow many shapes are there?\n\
                  /edit make the circle green\n/save green.png\n/save green.webp\nWhat colour is the circle?\n";
    let ran = unipic_with(dir, &CHAT, script.as_bytes())?.ended(0)?;
    let answers: Vec<_> = ran.text()?.lines().collect();
    assert_eq!(answers.len(), 3, "{ran:?}");
    assert!(answers.iter().all(|answer| !answer.trim().is_empty()), "{answers:?}");
    assert!(answers[0].to_lowercase().contains("red"), "{answers:?}");
    assert!(!ran.said.contains('\u{1b}'), "no terminal, so no picture: {ran:?}");
    let pixels =
        |name: &str| -> anyhow::Result<Rgb8> { Ok(decode(&std::fs::read(dir.join(name))?, &DecodeLimits::default())?) };
    assert!(pixels("circle.png")? != pixels("green.png")? && pixels("green.png")? == pixels("green.webp")?);
    // What was saved is the file as it came, with its record: an edit of what was drawn.
    unipic(dir, &["replay", "green.png", "--image", "circle.png"])?.ended(0)?;

    let events =
        unipic_with(dir, &[&CHAT[..], &["circle.png", "--json"]].concat(), b"What colour is it?\n")?.ended(0)?;
    let told = events.events()?;
    let names: Vec<_> = told.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"image"), Some(&"done")), "{names:?}");
    assert!(names.contains(&"text_delta"));
    Ok(())
}

#[test]
fn a_bad_line_is_told_and_the_next_is_answered() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    std::fs::write(dir.join("blue.png"), encode(&Rgb8::filled(20, 20, [0, 0, 255]), Format::Png, &[])?)?;
    std::fs::write(dir.join("text.png"), "hello")?;
    let script = b"/edit make it green\n/paint x\n/draw\n/image missing.png\n/image text.png\n\xff\n/save a.png\n\
                   /image blue.png\n/save a.gif\n/save nowhere/a.png\n/new\n/save a.png\n/quit\n/draw never\n";
    let target = ["--model", &model().display().to_string()];
    let ran = unipic_with(dir, &[&CHAT[..], &target].concat(), script)?.ended(1)?;
    for part in
        ["no image yet", "no command /paint", "/draw needs", "missing.png", "text.png", "UTF-8", "a.gif", "nowhere"]
    {
        assert!(ran.said.contains(part), "{part} is not in {}", ran.said);
    }
    assert!(ran.said.contains("9 lines failed") && ran.said.contains("blue.png: 20×20"), "{ran:?}");
    assert!(std::fs::read(dir.join("a.png"))? == std::fs::read(dir.join("blue.png"))?);
    Ok(())
}

#[test]
fn ctrl_c_ends_it_with_the_status_of_an_interrupt() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("blue.png"), encode(&Rgb8::filled(20, 20, [0, 0, 255]), Format::Png, &[])?)?;
    let target = ["--json", "--model", &model().display().to_string()];
    let mut child = start(dir.path(), &[&CHAT[..], &target].concat())?;
    let mut stdin = child.stdin.take().ok_or_else(|| anyhow::anyhow!("no standard input"))?;
    let mut stdout = BufReader::new(child.stdout.take().ok_or_else(|| anyhow::anyhow!("no standard output"))?);
    writeln!(stdin, "/image blue.png")?;
    // Once this is answered, the next line is waited for.
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    assert!(line.contains("\"image\""), "{line}");
    std::thread::sleep(std::time::Duration::from_millis(200));
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    assert!(sent.success());
    assert_eq!(child.wait()?.code(), Some(130));
    Ok(())
}

#[test]
fn images_taken_one_after_another_are_asked_about_together() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    for (name, colour) in [("a red one.png", [255, 0, 0]), ("green.png", [0, 255, 0]), ("blue.png", [0, 0, 255])] {
        std::fs::write(dir.join(name), encode(&Rgb8::filled(20, 20, colour), Format::Png, &[])?)?;
    }
    let target = ["--max-tokens", "2", "--model", &model().display().to_string()];
    // By a command, by two in one, and as a terminal writes what is dragged onto it.
    let script = "/image green.png\n/image 'a red one.png' blue.png\nWhich is red?\n/image green.png\nWhat is it?\n\
                  a\\ red\\ one.png\nAnd this?\n/help\n";
    let ran = unipic_with(dir, &[&CHAT[..], &target].concat(), script.as_bytes())?.ended(0)?;
    let told: Vec<_> = ran.said.lines().filter(|line| line.contains("20×20")).collect();
    let want = [
        "green.png: 20×20",
        "a red one.png: 20×20; 2 images are asked about together",
        "blue.png: 20×20; 3 images are asked about together",
        // What comes after a question begins anew.
        "green.png: 20×20",
        "a red one.png: 20×20",
    ];
    assert_eq!(told, want, "{ran:?}");
    assert!(ran.said.contains("/image FILE"), "{ran:?}");
    let many = "/image blue.png\n".repeat(9);
    let ran = unipic_with(dir, &[&CHAT[..], &target].concat(), many.as_bytes())?.ended(1)?;
    assert!(ran.said.contains("about 8 images at most"), "{ran:?}");
    Ok(())
}
