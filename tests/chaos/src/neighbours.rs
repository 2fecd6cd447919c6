//! What a small request costs beside long ones, and a quiet tenant beside a noisy one.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::{join, join_all};
use unipic_client::UniPicClient;

use crate::ask::{Ask, Asked, End, once, timed};
use crate::node::Node;
use crate::section::percentile;
use crate::{Runs, Section};

/// What a small request may take beside a long one, to alone.
const LONG_GOAL: f64 = 2.0;
/// What a quiet tenant's slowest percent may take beside a noisy one, to alone.
const NOISY_GOAL: f64 = 1.5;

/// Measures both.
///
/// # Errors
/// When the node does not run or a request fails.
pub async fn neighbours(runs: &Runs<'_>) -> anyhow::Result<Section> {
    let mut text = String::new();
    let mut misses = Vec::new();
    beside_long(runs, &mut text, &mut misses).await?;
    beside_noise(runs, &mut text, &mut misses).await?;
    Ok(Section { name: "neighbours", title: "Neighbours", text, misses })
}

/// Long images that never end, one after the other, at so many lanes; how many were made.
async fn keep_busy(clients: &[UniPicClient], long: &Ask, is_over: &AtomicBool) -> usize {
    let lanes = clients.iter().map(|client| async {
        let mut made = 0;
        while !is_over.load(Ordering::Relaxed) {
            match timed(client, long, 7).await.end {
                End::Done(_) => made += 1,
                // Refused: there is room again when something ends.
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        made
    });
    join_all(lanes).await.into_iter().sum()
}

/// `n` requests one after the other; seconds that each took.
pub(crate) async fn one_by_one(client: &UniPicClient, ask: &Ask, n: usize) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::new();
    for seed in 0..n {
        match timed(client, ask, seed as u64).await {
            Asked { took: time, end: End::Done(_) } => took.push(time.as_secs_f64()),
            Asked { end, .. } => anyhow::bail!("{ask:?}: {end:?}"),
        }
    }
    Ok(took)
}

/// What each of `n` requests took beside the busy ones, and how many of those were made a second.
async fn beside(
    quiet: &UniPicClient,
    (ask, n): (&Ask, usize),
    busy: &[UniPicClient],
    long: &Ask,
) -> anyhow::Result<(Vec<f64>, f64)> {
    let began = Instant::now();
    let is_over = AtomicBool::new(false);
    let measured = async {
        // Until the others are under way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let took = one_by_one(quiet, ask, n).await;
        is_over.store(true, Ordering::Relaxed);
        took
    };
    let (took, made) = join(measured, keep_busy(busy, long, &is_over)).await;
    Ok((took?, made as f64 / began.elapsed().as_secs_f64()))
}

async fn beside_long(runs: &Runs<'_>, text: &mut String, misses: &mut Vec<String>) -> anyhow::Result<()> {
    let node = Node::start(runs.binaries, runs.dir, &runs.model, "").await?;
    let (n, ask) = (runs.scaled(30), Ask::DEFAULT);
    let quiet = node.client(once())?;
    one_by_one(&quiet, &ask, 2).await?;
    let alone = percentile(&one_by_one(&quiet, &ask, n).await?, 0.5);
    let _ = writeln!(
        text,
        "A small image (128×128 px, 16 iterations) alone and beside long ones that never end (64 iterations, 50 head steps):\n\n\
         | beside | median s | to alone |\n| --- | --- | --- |\n| nothing | {alone:.3} | 1.00 |"
    );
    for (lanes, side, what) in [
        (1, 128, "one long, of the same size"),
        (1, 256, "one long, of four times the places"),
        (4, 256, "four of those"),
    ] {
        let long = Ask::Draw { side, iterations: 64, head_steps: 50 };
        let clients = (0..lanes).map(|_| node.client(once())).collect::<anyhow::Result<Vec<_>>>()?;
        let median = percentile(&beside(&quiet, (&ask, n), &clients, &long).await?.0, 0.5);
        let ratio = median / alone;
        let _ = writeln!(text, "| {what} | {median:.3} | {ratio:.2} |");
        // The goal is for an equal share of the tokens.
        if (lanes, side) == (1, 128) && ratio > LONG_GOAL {
            misses.push(format!("beside {what}: {ratio:.2} times as long as alone, goal {LONG_GOAL}"));
        }
    }
    Ok(())
}

/// A tenant that asks without end beside one that asks one thing after the other, by quotas.
async fn beside_noise(runs: &Runs<'_>, text: &mut String, misses: &mut Vec<String>) -> anyhow::Result<()> {
    let _ = writeln!(
        text,
        "\nA quiet tenant's images (64×64 px, 4 iterations, one after the other) beside a noisy tenant that keeps 16 such \
         requests going:\n\n| noisy tenant's quota | median s | p99 s | p99 to alone | noisy one's images a second |\n\
         | --- | --- | --- | --- | --- |"
    );
    let n = runs.scaled(200);
    for (quota, what) in [("", "none"), ("noisy.max_concurrent = 2\n", "`max_concurrent = 2`")] {
        let (config, [quiet, noisy]) = tenants(runs.binaries, quota)?;
        let node = Node::start(runs.binaries, runs.dir, &runs.model, &config).await?;
        let as_tenant = |key: &str| anyhow::Ok(node.client(once())?.with_api_key(unipic_client::ApiKey::new(key)?));
        let quiet = as_tenant(&quiet)?;
        one_by_one(&quiet, &Ask::SMALL, 5).await?;
        let alone = one_by_one(&quiet, &Ask::SMALL, n).await?;
        let clients = (0..16).map(|_| as_tenant(&noisy)).collect::<anyhow::Result<Vec<_>>>()?;
        let (both, made) = beside(&quiet, (&Ask::SMALL, n), &clients, &Ask::SMALL).await?;
        let (one, other) = (percentile(&alone, 0.99), percentile(&both, 0.99));
        let ratio = other / one;
        let _ = writeln!(
            text,
            "| (quiet alone) | {:.3} | {one:.3} | 1.00 | |\n| {what} | {:.3} | {other:.3} | {ratio:.2} | {made:.1} |",
            percentile(&alone, 0.5),
            percentile(&both, 0.5)
        );
        if ratio > NOISY_GOAL {
            misses.push(format!("quota of the noisy tenant {what}: {ratio:.2} times the p99, goal {NOISY_GOAL}"));
        }
    }
    Ok(())
}

/// Two tenants with a key each, and a configuration that knows them.
fn tenants(binaries: &Path, quota: &str) -> anyhow::Result<(String, [String; 2])> {
    let mut config = format!("[tenants]\n{quota}");
    let mut keys = [String::new(), String::new()];
    for (tenant, key) in ["quiet", "noisy"].iter().zip(&mut keys) {
        let made = Command::new(binaries.join("unipic")).args(["key", "new", "--json", "--tenant", tenant]).output()?;
        let made: serde_json::Value = serde_json::from_slice(&made.stdout)
            .with_context(|| format!("unipic key new: {}", String::from_utf8_lossy(&made.stderr)))?;
        let text = |name: &str| made[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {made}"));
        *key = text("key")?;
        let _ = writeln!(config, "{}", text("config")?);
    }
    Ok((config, keys))
}
