//! Whether a collector of traces that is dead, deaf, refusing or slow costs requests anything.

use std::fmt::Write;

use crate::ask::{Ask, End, once, timed};
use crate::collectors::{Collector, Manner};
use crate::node::Node;
use crate::section::percentile;
use crate::{Runs, Section};

/// What 99 of 100 requests may take, to no collector at all.
const GOAL: f64 = 1.05;

/// Requests to each node: the highest hundredth is of fifteen.
const REQUESTS: usize = 1500;

/// The first so many nodes have no collector. All are held against these together; what one of them is to both shows what the
/// measure itself is worth.
const WITHOUT: usize = 2;

/// A node and what it exports to.
struct Case {
    what: &'static str,
    node: Node,
    collector: Option<Collector>,
    is_judged: bool,
    took: Vec<f64>,
}

/// Measures it. The nodes run side by side and are asked in turn, so that whatever else the machine does meets all of them;
/// each round begins with another one, so that none always follows the same.
///
/// # Errors
/// When a node does not run or a request fails.
pub async fn collector(runs: &Runs<'_>) -> anyhow::Result<Section> {
    let mut cases = cases(runs).await?;
    for seed in 0..runs.scaled(REQUESTS) {
        let n = cases.len();
        for turn in 0..n {
            let case = &mut cases[(seed + turn) % n];
            let asked = timed(&case.node.client(once())?, &Ask::SMALL, seed as u64).await;
            match asked.end {
                End::Done(_) => case.took.push(asked.took.as_secs_f64()),
                end => anyhow::bail!("collector: {}: {end:?}", case.what),
            }
        }
    }
    Ok(section(&cases))
}

async fn cases(runs: &Runs<'_>) -> anyhow::Result<Vec<Case>> {
    let collectors = [
        ("none, the first node", None, None),
        ("none, the second node", None, None),
        ("nobody listens", None, Some(integration::processes::free_port()?)),
        ("takes connections, never answers", Some(Collector::deaf().await?), None),
        ("refuses every export", Some(Collector::answering(Manner::Refuses).await?), None),
        ("answers every export after 5 s", Some(Collector::answering(Manner::Slow).await?), None),
    ];
    let mut cases = Vec::new();
    for (number, (what, collector, dead)) in collectors.into_iter().enumerate() {
        let port = collector.as_ref().map(|collector| collector.port).or(dead);
        let config = port.map(|port| format!("telemetry.otlp_endpoint = \"http://127.0.0.1:{port}\"\n"));
        let node = Node::start(runs.binaries, runs.dir, &runs.model, &config.unwrap_or_default()).await?;
        cases.push(Case { what, node, collector, is_judged: number >= WITHOUT, took: Vec::new() });
    }
    Ok(cases)
}

fn section(cases: &[Case]) -> Section {
    let (n, each) = (cases.len(), cases[0].took.len());
    let mut text = format!(
        "{each} images of 64×64 px in 4 iterations of each of {n} nodes, asked in turn, one after the other.\n\n\
         | collector | exports that it had | p50 ms | p99 ms | p50 to both without | p99 to both without |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let mut misses = Vec::new();
    let without: Vec<f64> = cases[..WITHOUT].iter().flat_map(|case| case.took.iter().copied()).collect();
    let none = |share| percentile(&without, share);
    for case in cases {
        let (what, p50, p99) = (case.what, percentile(&case.took, 0.5), percentile(&case.took, 0.99));
        let (half, ratio) = (p50 / none(0.5), p99 / none(0.99));
        let exports = case.collector.as_ref().map(|collector| collector.asked().to_string()).unwrap_or_default();
        let (p50, p99) = (p50 * 1e3, p99 * 1e3);
        let _ = writeln!(text, "| {what} | {exports} | {p50:.1} | {p99:.1} | {half:.2} | {ratio:.2} |");
        if case.is_judged && ratio > GOAL {
            misses.push(format!("collector {what}: {ratio:.2} times the p99, goal {GOAL}"));
        }
    }
    Section { name: "collector", title: "A collector that is no help", text, misses }
}
