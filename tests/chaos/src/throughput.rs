//! What batching across requests gives: the same requests one after the other and many at once, on one node.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures::future::join_all;

use crate::ask::{Ask, Asked, End, once, timed};
use crate::node::{Node, grown};
use crate::{Runs, Section};

/// How many times the requests a second many at once should give, to one after the other.
const GOAL: f64 = 2.0;

/// What the kernel counts processor time in, for programs, on every architecture that Linux has today.
const TICKS_A_SECOND: f64 = 100.0;

/// One way to ask, measured.
struct Row {
    n: usize,
    seconds: f64,
    /// Processors that the node kept busy.
    processors: f64,
    /// Time on the device by kind of batch, in seconds, and jobs by batch.
    spent: BTreeMap<String, (f64, f64)>,
}

impl Row {
    fn rate(&self) -> f64 {
        self.n as f64 / self.seconds
    }
}

/// Measures it.
///
/// # Errors
/// When the node does not run, a request fails, or an image depends on its company.
pub async fn throughput(runs: &Runs<'_>) -> anyhow::Result<Section> {
    let cores = std::thread::available_parallelism()?.get() as f64;
    let room = "admission.max_running = 32\n";
    let node = Node::start(runs.binaries, runs.dir, &runs.model, room).await?;
    let mut text = String::from(
        "The same requests one after the other and many at once, on one node with `admission.max_running = 32`. Images are \
         those of the defaults (128×128 px, 16 iterations, 25 head steps, guidance 3); answers have 24 tokens at most.\n\n\
         | asked | at once | requests/s | to one | processors busy | device time by kind of batch, ms a request (jobs a batch) |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    let (mut misses, mut bounds) = (Vec::new(), Vec::new());
    let image = match timed(&node.client(once())?, &Ask::DEFAULT, 0).await.end {
        End::Done(file) => file,
        end => anyhow::bail!("the first image: {end:?}"),
    };
    for (name, ask) in [("images", Ask::DEFAULT), ("answers", Ask::Answer { image, tokens: 24 })] {
        let mut alone = None;
        for at_once in [1, 8, 32] {
            let row = measure(&node, &ask, at_once, runs.scaled(if at_once == 1 { 32 } else { 96 })).await?;
            let one = *alone.get_or_insert(row.rate());
            let ratio = row.rate() / one;
            if at_once == 1 {
                bounds.push(format!("{:.2} times as many {name}", cores / row.processors));
            }
            if at_once > 1 && ratio < GOAL {
                misses.push(format!("{name}, {at_once} at once: {ratio:.2} times the requests of one, goal {GOAL}"));
            }
            // Writing to a string does not fail.
            let (rate, busy, spent) = (row.rate(), row.processors, spent(&row));
            let _ = writeln!(text, "| {name} | {at_once} | {rate:.2} | {ratio:.2} | {busy:.2} | {spent} |");
        }
    }
    let _ = write!(
        text,
        "\nWhere one request alone leaves processors idle, many at once can use them: that makes {} at most. What is gained \
         beyond is what batches save.",
        bounds.join(", ")
    );
    Ok(Section { name: "throughput", title: "Throughput of one node", text, misses })
}

fn spent(row: &Row) -> String {
    let mut kinds: Vec<_> = row.spent.iter().filter(|(_, (seconds, _))| *seconds > 0.0).collect();
    kinds.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let told = |(kind, (seconds, jobs)): (&String, &(f64, f64))| {
        format!("{kind} {:.1} ({jobs:.1})", seconds * 1000.0 / row.n as f64)
    };
    kinds.into_iter().map(told).collect::<Vec<_>>().join(", ")
}

/// `n` requests, `at_once` at any time, each seed's result held against that of the same seed before.
async fn measure(node: &Node, ask: &Ask, at_once: usize, n: usize) -> anyhow::Result<Row> {
    let client = node.client(once())?;
    let (before, ticks, began) = (node.metrics().await?, node.processor_ticks()?, Instant::now());
    let lanes = (0..at_once).map(|lane| {
        let client = &client;
        async move {
            let mut ended = Vec::new();
            for seed in (lane..n.max(at_once)).step_by(at_once) {
                ended.push((seed, timed(client, ask, seed as u64 % 4).await));
            }
            ended
        }
    });
    let ended: Vec<(usize, Asked)> = join_all(lanes).await.into_iter().flatten().collect();
    let seconds = began.elapsed().as_secs_f64();
    let processors = (node.processor_ticks()? - ticks) / TICKS_A_SECOND / seconds;
    let after = node.metrics().await?;
    let mut results: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for (seed, asked) in &ended {
        let End::Done(result) = &asked.end else { anyhow::bail!("{ask:?}, {at_once} at once: {:?}", asked.end) };
        let first = results.entry(seed % 4).or_insert_with(|| result.clone());
        ensure!(first == result, "seed {} gives other bytes among {at_once} at once", seed % 4);
    }
    let sum = grown(&before, &after, "unipic_engine_batch_duration_seconds_sum", "kind");
    let batches = grown(&before, &after, "unipic_engine_batch_duration_seconds_count", "kind");
    let jobs = grown(&before, &after, "unipic_engine_batch_jobs_sum", "kind");
    let of = |kind: &String, seconds: f64| {
        let n = batches.get(kind).copied().context("batches are counted")?;
        Ok((kind.clone(), (seconds, jobs.get(kind).copied().unwrap_or(0.0) / n.max(1.0))))
    };
    let spent = sum.iter().map(|(kind, seconds)| of(kind, *seconds)).collect::<anyhow::Result<_>>()?;
    Ok(Row { n: ended.len(), seconds, processors, spent })
}
