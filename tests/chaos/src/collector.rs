//! Whether a collector of traces that is dead, deaf or refusing costs requests anything.

use std::fmt::Write;

use tokio::net::TcpListener;

use crate::ask::{Ask, End, once, timed};
use crate::node::Node;
use crate::section::percentile;
use crate::{Runs, Section};

/// What 99 of 100 requests may take, to no collector at all.
const GOAL: f64 = 1.05;

/// Measures it. The nodes run side by side and are asked in turn, so that whatever else the machine does meets all of them.
///
/// # Errors
/// When a node does not run or a request fails.
pub async fn collector(runs: &Runs<'_>) -> anyhow::Result<Section> {
    // Takes connections and never reads from them.
    let deaf = TcpListener::bind(("127.0.0.1", 0)).await?;
    let at = |port: u16| format!("telemetry.otlp_endpoint = \"http://127.0.0.1:{port}\"\n");
    let dead = at(integration::processes::free_port()?);
    let kinds = [
        ("none", String::new()),
        ("nobody listens", dead),
        ("takes connections, never answers", at(deaf.local_addr()?.port())),
    ];
    let mut nodes = Vec::new();
    for (what, config) in &kinds {
        nodes.push((*what, Node::start(runs.binaries, runs.dir, &runs.model, config).await?, Vec::new()));
    }
    let accepted = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = deaf.accept().await {
            held.push(stream);
        }
    });
    for seed in 0..runs.scaled(400) as u64 {
        for (what, node, took) in &mut nodes {
            let asked = timed(&node.client(once())?, &Ask::SMALL, seed).await;
            match asked.end {
                End::Done(_) => took.push(asked.took.as_secs_f64()),
                end => anyhow::bail!("collector: {what}: {end:?}"),
            }
        }
    }
    accepted.abort();
    let mut text = String::from(
        "Images of 64×64 px in 4 iterations, one after the other, asked of three nodes in turn.\n\n| collector | p50 ms | p99 ms | p99 to none |\n| --- | --- | --- | --- |\n",
    );
    let mut misses = Vec::new();
    let none = percentile(&nodes[0].2, 0.99);
    for (what, _, took) in &nodes {
        let (p50, p99) = (percentile(took, 0.5), percentile(took, 0.99));
        let ratio = p99 / none;
        let _ = writeln!(text, "| {what} | {:.1} | {:.1} | {ratio:.2} |", p50 * 1e3, p99 * 1e3);
        if ratio > GOAL {
            misses.push(format!("collector {what}: {ratio:.2} times the p99, goal {GOAL}"));
        }
    }
    Ok(Section { name: "collector", title: "A collector that is not there", text, misses })
}
