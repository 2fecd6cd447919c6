//! The programs that cargo makes of tests, and the one test of them that is wanted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use integration::processes::cargo;
use serde_json::Value;

/// The programs of all tests of the workspace.
pub(super) struct Programs(Vec<Program>);

struct Program {
    executable: PathBuf,
    /// Folder of its package, from the root of the repository.
    package: PathBuf,
    /// Its name under `tests`; none of the tests inside a library.
    name: Option<String>,
}

/// A test within its program.
pub(super) struct Found<'a> {
    program: &'a Program,
    /// With its modules.
    path: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Programs {
    /// Builds the tests as `cargo test --workspace` does, so that nothing is compiled twice.
    pub(super) fn build() -> anyhow::Result<Self> {
        let mut cargo = cargo("test");
        cargo.args(["--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
        let output = cargo.stderr(Stdio::inherit()).output().context("run cargo")?;
        ensure!(output.status.success(), "the tests do not build");
        let root = root().canonicalize()?;
        let text = String::from_utf8(output.stdout).context("what cargo says")?;
        let messages = text.lines().map(serde_json::from_str::<Value>);
        let programs: Result<Vec<_>, _> = messages.map(|message| Ok(Program::of(&message?, &root))).collect();
        Ok(Self(programs.map_err(|error: serde_json::Error| error)?.into_iter().flatten().collect()))
    }

    /// The test that the scorecard names by its file and its function.
    pub(super) fn find(&self, test: &str) -> anyhow::Result<Found<'_>> {
        let (file, function) = test.split_once("::").context("a test is a file and a function")?;
        let place = Place::of(file).with_context(|| format!("{file} belongs to no test program"))?;
        let is_it = |p: &&Program| p.package == Path::new(place.package) && p.name.as_deref() == place.program;
        let program = self.0.iter().find(is_it).with_context(|| format!("no program has {file}"))?;
        let listed = program.command().args(["--list", "--format", "terse"]).output()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let tests = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        let found: Vec<_> = tests.filter(|path| place.has(path, function)).collect();
        match found[..] {
            [path] => Ok(Found { program, path: path.to_owned() }),
            _ => bail!("{} tests of that name", found.len()),
        }
    }
}

impl Program {
    /// Of one message of cargo; none where it is not about the program of a test.
    fn of(message: &Value, root: &Path) -> Option<Self> {
        let executable = PathBuf::from(message["executable"].as_str()?);
        let package = Path::new(message["manifest_path"].as_str()?).parent()?.strip_prefix(root).ok()?.to_owned();
        let (target, name) = (&message["target"], message["target"]["name"].as_str()?.to_owned());
        let is_of_kind = |kind: &str| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == kind));
        let is_test = message["profile"]["test"].as_bool()?;
        match (is_test, is_of_kind("test"), is_of_kind("lib")) {
            (true, true, _) => Some(Self { executable, package, name: Some(name) }),
            (true, _, true) => Some(Self { executable, package, name: None }),
            _ => None,
        }
    }

    /// It runs where cargo would run it.
    fn command(&self) -> Command {
        let folder = root().join(&self.package);
        let mut command = Command::new(&self.executable);
        command.current_dir(&folder).env("CARGO_MANIFEST_DIR", &folder).stdin(Stdio::null());
        command
    }
}

impl Found<'_> {
    /// Runs this test alone.
    pub(super) fn command(&self) -> Command {
        let mut command = self.program.command();
        command.args(["--exact", &self.path, "--nocapture"]);
        command
    }
}

/// Where a source file of tests belongs.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    package: &'a str,
    /// As [`Program::name`].
    program: Option<&'a str>,
    /// The module that the file is, empty at the top.
    module: String,
}

impl<'a> Place<'a> {
    fn of(file: &'a str) -> Option<Self> {
        let (file, module) = (file.strip_suffix(".rs")?, |path: &str| path.replace('/', "::"));
        if let Some((package, path)) = file.split_once("/src/") {
            return Some(Self { package, program: None, module: module(path) });
        }
        let (package, path) = file.rsplit_once("/tests/")?;
        let (program, inner) = path.split_once('/').unwrap_or((path, ""));
        Some(Self { package, program: Some(program), module: module(inner) })
    }

    /// Whether a test of the program, named with its modules, is this function of this file.
    fn has(&self, path: &str, function: &str) -> bool {
        let (modules, name) = path.rsplit_once("::").unwrap_or(("", path));
        // Tests inside a source file stand in a module of their own.
        name == function && (modules == self.module || modules == format!("{}::tests", self.module))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_which_program_has_its_tests() {
        let check = |file, package, program, module: &str| {
            assert_eq!(Place::of(file), Some(Place { package, program, module: module.into() }));
        };
        check("tests/integration/tests/failover.rs", "tests/integration", Some("failover"), "");
        check("services/decoder/tests/service/core.rs", "services/decoder", Some("service"), "core");
        check("shared/models/src/prompt/tests.rs", "shared/models", None, "prompt::tests");
        assert_eq!(Place::of("README.md"), None);
        let admission = Place::of("services/gateway/src/admission.rs").unwrap();
        assert!(admission.has("admission::tests::turns", "turns") && admission.has("admission::turns", "turns"));
        assert!(!admission.has("admission::tests::turns_too", "turns") && !admission.has("queue::turns", "turns"));
        assert!(Place::of("a/tests/b.rs").unwrap().has("turns", "turns"));
    }
}
