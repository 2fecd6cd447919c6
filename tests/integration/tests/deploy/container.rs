//! The container file, as text: what it builds from, as whom it runs, and that every program is in it.

use std::path::Path;

use crate::root;

const PROGRAMS: [&str; 6] =
    ["unipic", "unipic-gateway", "unipic-understanding", "unipic-synthesis", "unipic-decoder", "unipic-node"];

/// Instructions with their continuation lines joined, without comments.
fn instructions(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.fold(String::new(), |text, line| match line.trim_end().strip_suffix('\\') {
        Some(begun) => text + begun + " ",
        None => text + line + "\n",
    });
    joined.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|l| !l.is_empty()).collect()
}

/// A stage: its name, what it is from, its instructions.
struct Stage {
    name: String,
    from: String,
    steps: Vec<String>,
}

fn stages(text: &str) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for step in instructions(text) {
        match step.strip_prefix("FROM ").and_then(|rest| rest.split_once(" AS ")) {
            Some((from, name)) => stages.push(Stage { name: name.into(), from: from.into(), steps: Vec::new() }),
            None => stages.last_mut().expect("begins with FROM").steps.push(step),
        }
    }
    stages
}

/// Everything that is wrong with a container file.
fn problems(text: &str) -> Vec<String> {
    let stages = stages(text);
    let mut problems = Vec::new();
    let mut check = |is_right: bool, problem: String| {
        if !is_right {
            problems.push(problem);
        }
    };
    let stage = |name: &str| stages.iter().find(|stage| stage.name == name);
    let releases: Vec<&str> = stages.iter().filter(|s| stage(&s.from).is_none()).map(|s| s.from.as_str()).collect();
    check(releases.iter().all(|from| from.contains("bookworm") && from.contains(':')), format!("{releases:?}"));
    let is = |stage: Option<&Stage>, wanted: &str| stage.is_some_and(|s| s.steps.iter().any(|step| step == wanted));
    check(is(stage("runtime"), "USER 65532:65532"), "it does not run as our user".into());
    check(is(stage("runtime"), "CMD [\"unipic-node\"]"), "it runs nothing by itself".into());
    let health = "HEALTHCHECK --interval=10s --timeout=5s --start-period=5m CMD [\"unipic\", \"health\"]";
    check(is(stage("runtime"), health), "its health is not asked".into());
    for (target, build) in [("cpu", "build-cpu"), ("cuda", "build-cuda")] {
        let from_runtime = stage(target).is_some_and(|stage| stage.from == "runtime");
        check(from_runtime, format!("{target} is not from the runtime"));
        let copies = format!("COPY --from={build} /programs/ /usr/local/bin/");
        check(is(stage(target), &copies), format!("{target} has no programs"));
        let built: String = stage(build).map(|s| s.steps.join("\n")).unwrap_or_default();
        for program in PROGRAMS {
            check(built.contains(&format!("-p {program} ")), format!("{build} does not build {program}"));
            let is_copied = built.split("for program in").nth(1).is_some_and(|list| {
                list.split(';').next().is_some_and(|list| list.split_whitespace().any(|word| word == program))
            });
            check(is_copied, format!("{build} does not keep {program}"));
        }
        check(built.contains("--locked"), format!("{build} may build other versions than those locked"));
    }
    for weights in ["unipic", "unipic-understanding", "unipic-synthesis", "unipic-decoder", "unipic-node"] {
        let built = stage("build-cuda").map(|s| s.steps.join("\n")).unwrap_or_default();
        check(built.contains(&format!("{weights}/cuda")), format!("{weights} is built without cuda"));
    }
    check(stages.last().is_some_and(|last| last.name == "cpu"), "the last stage is not the default".into());
    problems
}

fn file() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(root().join("deploy/container/Containerfile"))?)
}

#[test]
fn the_container_file_has_everything() -> anyhow::Result<()> {
    let problems = problems(&file()?);
    assert!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

#[test]
fn a_wrong_container_file_is_refused() -> anyhow::Result<()> {
    let good = file()?;
    for (from, to) in [
        ("USER 65532:65532", "USER root"),
        ("FROM debian:bookworm-slim", "FROM debian:trixie-slim"),
        ("FROM debian:bookworm-slim", "FROM debian"),
        ("HEALTHCHECK", "# HEALTHCHECK"),
        ("-p unipic-decoder -p", "-p"),
        ("unipic-decoder unipic-node; do", "unipic-node; do"),
        ("unipic-decoder/cuda,", ""),
        ("--locked", ""),
        ("COPY --from=build-cpu", "COPY --from=build-cuda"),
    ] {
        assert!(good.contains(from), "{from:?} is not there: this test has gone stale");
        assert!(!problems(&good.replacen(from, to, 1)).is_empty(), "{from:?} -> {to:?}");
    }
    Ok(())
}

/// The context that is sent to the builder has every crate of the workspace, and what they are built from.
#[test]
fn the_build_context_has_every_crate_and_no_more() -> anyhow::Result<()> {
    let ignore = std::fs::read_to_string(root().join(".dockerignore"))?;
    let kept: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for path in &kept {
        assert!(root().join(path).exists(), "{path} does not exist");
    }
    assert!(ignore.lines().any(|line| line == "*"), "everything else stays out");
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml"))?.parse()?;
    for member in manifest["workspace"]["members"].as_array().expect("a list") {
        let folder = Path::new(member.as_str().expect("a path")).components().next().expect("a folder");
        let folder = folder.as_os_str().to_str().expect("text");
        assert!(kept.contains(&folder), "{member} is not in the build context");
    }
    for file in ["Cargo.toml", "Cargo.lock", "deploy/gpu", "proto"] {
        assert!(kept.contains(&file), "{file} is not in the build context");
    }
    Ok(())
}
