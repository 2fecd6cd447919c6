//! A hundred thousand random requests: the gateway's test of them, with more of them.

use std::time::Instant;

use anyhow::{Context, ensure};
use integration::processes::cargo;

use crate::Section;

/// The variable by which the test is told how many.
const REQUESTS: &str = "UNIPIC_RANDOM_REQUESTS";

/// Runs the test with so many requests.
///
/// # Errors
/// When it cannot be run or says nothing. A request that is neither answered nor refused is a miss.
pub fn random(requests: usize) -> anyhow::Result<Section> {
    let began = Instant::now();
    let mut cargo = cargo("test");
    cargo.args(["--workspace", "--test", "random", "--", "--nocapture"]).env(REQUESTS, requests.to_string());
    let output = cargo.output().context("run the test")?;
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = out.lines().find(|line| line.contains("were answered"));
    ensure!(line.is_some() || !output.status.success(), "the test said nothing: {out}{said}");
    let reason = said.lines().chain(out.lines()).find(|line| line.contains("round"));
    let mut misses = Vec::new();
    if !output.status.success() {
        misses.push(reason.unwrap_or("the test failed").to_owned());
    }
    let text = format!(
        "{requests} requests of random parameters (edges, absurd numbers, cut-off files, control tokens) to the gateway's flows \
         in {:.0} s, building included: {}; all others were refused as INVALID_ARGUMENT, and none ended in another way.\n",
        began.elapsed().as_secs_f64(),
        line.unwrap_or("the test failed"),
    );
    Ok(Section { name: "random", title: "Random requests", text, misses })
}
