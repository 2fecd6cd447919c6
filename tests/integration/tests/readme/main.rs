//! The README's commands and scripts, taken from the page and run as they stand against a server of the embedded model.
//!
//! Only the ports differ: those of the page may be taken on the machine that tests.
#![allow(clippy::expect_used, reason = "a test that cannot look has failed")]

mod blocks;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use blocks::{Block, Use, blocks};
use integration::processes::{Process, binary};
use integration::python::{install_package, python};

/// Where the page says that `unipic serve` listens.
const GRPC: &str = "127.0.0.1:50051";
const HTTP: [&str; 2] = ["127.0.0.1:8080", "localhost:8080"];

/// Programs that a block may need and that are not ours: without them the block is skipped, and said to be.
const FOREIGN: [&str; 3] = ["grpcurl", "curl", "jq"];

/// What shows each way of calling.
const WAYS: [(&str, &str); 10] = [
    ("the command line", "unipic generate"),
    ("the command line with a server", "--server"),
    ("HTTP", "/v1/images/generations"),
    ("OpenAI's package", "from openai import"),
    ("gRPC from a shell", "grpcurl"),
    ("the Python package", "import unipic"),
    ("many jobs", "unipic batch"),
    ("a conversation", "unipic chat"),
    ("margins", "--extend"),
    ("shells", "unipic completions"),
];

fn readme() -> anyhow::Result<Vec<Block>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    blocks(&std::fs::read_to_string(page)?).context("README.md")
}

#[test]
fn every_way_of_calling_has_a_block_that_is_run() -> anyhow::Result<()> {
    let blocks = readme()?;
    for (way, word) in WAYS {
        let has_one = blocks.iter().any(|block| block.r#use == Use::Run && block.text.contains(word));
        ensure!(has_one, "README.md has no block for {way} that is run");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blocks_do_what_they_say() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let blocks = readme()?;
    let mut server = serve(&blocks, dir.path())?;
    server.ready().await?;
    let here = Here::new(dir.path(), &server)?;
    let mut n_run = 0;
    for block in blocks.iter().filter(|block| block.r#use == Use::Run) {
        if let Some(missing) = here.missing_for(block) {
            eprintln!("SKIPPED: README.md line {}: {missing} is not here", block.line);
            continue;
        }
        let ended = here.run(block)?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "README.md line {}: {}\n{said}\n{}", block.line, ended.status, server.log());
        here.check_pictures(block)?;
        n_run += 1;
    }
    // Those of the command line need nothing that is not here.
    ensure!(n_run >= 2, "only {n_run} blocks were run");
    server.stop().await
}

/// Starts what the page says is served, on free ports.
fn serve(blocks: &[Block], dir: &Path) -> anyhow::Result<Process> {
    let served: Vec<_> = blocks.iter().filter(|block| block.r#use == Use::Serve).collect();
    let [block] = served[..] else { anyhow::bail!("{} blocks are served, one can be", served.len()) };
    let command: Vec<_> = block.text.split('#').next().unwrap_or_default().split_whitespace().collect();
    let [program, args @ ..] = &command[..] else { anyhow::bail!("line {}: nothing is served", block.line) };
    Process::start(&binary(program)?, args, "", dir)
}

/// Where blocks are run.
struct Here {
    /// Their working folder.
    folder: PathBuf,
    /// The programs' folder, first in the path.
    programs: PathBuf,
    python: Option<PathBuf>,
    /// Our own Python package, installed.
    packages: PathBuf,
    grpc: String,
    http: String,
}

impl Here {
    fn new(dir: &Path, server: &Process) -> anyhow::Result<Self> {
        let (folder, packages) = (dir.join("work"), dir.join("packages"));
        std::fs::create_dir(&folder)?;
        let python = python()?;
        if let Some(python) = &python {
            install_package(python, &packages)?;
        }
        let programs = binary("unipic")?.parent().context("a binary lies in a folder")?.to_path_buf();
        let http = server.http_port.context("`unipic serve` has an HTTP API")?;
        let (grpc, http) = (format!("127.0.0.1:{}", server.port), format!("127.0.0.1:{http}"));
        Ok(Self { folder, programs, python, packages, grpc, http })
    }

    /// What a block needs and does not find.
    fn missing_for(&self, block: &Block) -> Option<&'static str> {
        if block.language == "python" {
            return self.python.is_none().then_some("a Python with the packages of the tests");
        }
        let calls = |program: &str| block.text.split(|c: char| !c.is_alphanumeric()).any(|word| word == program);
        let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
        FOREIGN.into_iter().find(|program| calls(program) && !has(program))
    }

    fn run(&self, block: &Block) -> anyhow::Result<Output> {
        let text = HTTP.into_iter().fold(block.text.replace(GRPC, &self.grpc), |text, at| text.replace(at, &self.http));
        let mut command = match (block.language.as_str(), &self.python) {
            ("python", Some(python)) => Command::new(python),
            _ => Command::new("bash"),
        };
        match block.language.as_str() {
            "python" => command.args(["-c", &text]),
            _ => command.args(["-euo", "pipefail", "-c", &text]),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.programs.display())).env("PYTHONPATH", &self.packages);
        // A proxy is for what is not on this machine.
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        Ok(command.current_dir(&self.folder).output()?)
    }

    /// Every PNG that a block names is there afterwards.
    fn check_pictures(&self, block: &Block) -> anyhow::Result<()> {
        for word in block.text.split(|c: char| c.is_whitespace() || "\"'()".contains(c)) {
            if word.ends_with(".png") {
                let file = std::fs::read(self.folder.join(word)).with_context(|| format!("{word} was not written"))?;
                let is_whole = file.starts_with(b"\x89PNG") && file.ends_with(b"IEND\xaeB`\x82");
                ensure!(is_whole, "README.md line {}: {word} is no whole PNG but {} bytes", block.line, file.len());
            }
        }
        Ok(())
    }
}
