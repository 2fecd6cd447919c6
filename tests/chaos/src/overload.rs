//! Five times as many requests as a node can serve, for a while.

use std::fmt::Write;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::ask::{Ask, Asked, End, once, timed};
use crate::node::Node;
use crate::section::percentile;
use crate::{Runs, Section};

/// How many times what can be served is asked for.
const TIMES: f64 = 5.0;
/// Share of what can be served that must be served still.
const GOODPUT_GOAL: f64 = 0.9;
/// What 99 of 100 refusals may take.
const REFUSAL_GOAL: Duration = Duration::from_millis(50);
/// What memory may grow by, to before.
const MEMORY_GOAL: f64 = 1.1;
/// Clients that find out what can be served.
const CLIENTS: usize = 8;

/// Measures it.
///
/// # Errors
/// When the node does not run, or nothing can be served without overload.
pub async fn overload(runs: &Runs<'_>) -> anyhow::Result<Section> {
    let node = Node::start(runs.binaries, runs.dir, &runs.model, "admission.max_queued = 16\n").await?;
    let seconds = runs.scaled(60) as f64;
    let third = Duration::from_secs_f64(seconds / 3.0);
    let first = peak(&node, third).await?;
    let (before, ticks) = (node.resident_mib()?, node.processor_ticks()?);
    let (ended, took) = flood(&node, first.rate * TIMES, Duration::from_secs_f64(seconds)).await?;
    let (after, ticks) = (node.resident_mib()?, node.processor_ticks()? - ticks);
    // The machine is another one from minute to minute, where it shares its processors: what is without overload is measured
    // on both sides of it.
    let second = peak(&node, third).await?;
    let peak = Peak::between(&first, &second);

    let done = ended.iter().filter(|asked| matches!(asked.end, End::Done(_))).count();
    let refused: Vec<&Asked> = ended.iter().filter(|asked| matches!(asked.end, End::Refused { .. })).collect();
    let silent = refused.iter().filter(|asked| matches!(asked.end, End::Refused { says_when: false })).count();
    let failed: Vec<String> = ended
        .iter()
        .filter_map(|asked| match &asked.end {
            End::Failed(why) => Some(why.clone()),
            _ => None,
        })
        .collect();
    let times: Vec<f64> = refused.iter().map(|asked| asked.took.as_secs_f64()).collect();
    let (goodput, p99) = (done as f64 / took.as_secs_f64(), percentile(&times, 0.99));
    let share = goodput / peak.rate;

    let mut text = format!(
        "{TIMES} times what {CLIENTS} clients in turn get out of one node, for {seconds:.0} s: 64×64 px in 4 iterations, 8 running and 16 \
         waiting at most. Clients and node share the machine.\n\n| what | measured | goal |\n| --- | --- | --- |\n"
    );
    let refused = refused.len();
    let _ = writeln!(
        text,
        "| served without overload, before and after, requests/s | {:.1}, {:.1} | |",
        first.rate, second.rate
    );
    let _ = writeln!(text, "| asked, requests/s | {:.1} | |", ended.len() as f64 / seconds);
    let _ = writeln!(text, "| served, requests/s | {goodput:.1} ({share:.2}) | {GOODPUT_GOAL} of those |");
    // The clients of a flood take from the same processors what the node then lacks.
    let thrift = done as f64 / ticks / peak.by_tick;
    let _ = writeln!(text, "| served for the processor time that the node had, to without | {thrift:.2} | |");
    let _ = writeln!(text, "| refused | {refused}, {silent} without saying when to come back | all say |");
    let _ = writeln!(
        text,
        "| refusal, p50 and p99, ms | {:.1}, {:.1} | {} |",
        percentile(&times, 0.5) * 1e3,
        p99 * 1e3,
        REFUSAL_GOAL.as_millis()
    );
    let _ = writeln!(text, "| memory before and after, MiB | {before:.0}, {after:.0} | {MEMORY_GOAL} times |");
    let _ = writeln!(text, "| failed otherwise | {} | 0 |", failed.len());

    let mut misses = Vec::new();
    let mut goal = |is_reached: bool, what: String| {
        if !is_reached {
            misses.push(what)
        }
    };
    goal(share >= GOODPUT_GOAL, format!("served {share:.2} of the peak, goal {GOODPUT_GOAL}"));
    goal(silent == 0, format!("{silent} refusals do not say when to come back"));
    goal(
        p99 <= REFUSAL_GOAL.as_secs_f64(),
        format!("p99 of refusals {:.0} ms, goal {} ms", p99 * 1e3, REFUSAL_GOAL.as_millis()),
    );
    goal(after <= before * MEMORY_GOAL, format!("memory {:.2} times, goal {MEMORY_GOAL}", after / before));
    goal(failed.is_empty(), format!("failed otherwise: {}", failed.first().cloned().unwrap_or_default()));
    Ok(Section { name: "overload", title: "Overload", text, misses })
}

/// What clients get that wait for each answer.
struct Peak {
    /// Requests a second.
    rate: f64,
    /// Requests for a tick of the node's processor time.
    by_tick: f64,
}

impl Peak {
    fn between(first: &Self, second: &Self) -> Self {
        Self { rate: f64::midpoint(first.rate, second.rate), by_tick: f64::midpoint(first.by_tick, second.by_tick) }
    }
}

async fn peak(node: &Node, lasting: Duration) -> anyhow::Result<Peak> {
    let client = node.client(once())?;
    let count = |began: Instant, lasting: Duration| {
        let client = &client;
        let lanes = (0..CLIENTS).map(move |lane| async move {
            let mut n = 0;
            while began.elapsed() < lasting {
                n += usize::from(matches!(timed(client, &Ask::SMALL, lane as u64).await.end, End::Done(_)));
            }
            n
        });
        async move { join_all(lanes).await.into_iter().sum::<usize>() as f64 / began.elapsed().as_secs_f64() }
    };
    // The first second warms up.
    count(Instant::now(), Duration::from_secs(1)).await;
    let (began, ticks) = (Instant::now(), node.processor_ticks()?);
    let rate = count(began, lasting).await;
    anyhow::ensure!(rate > 0.0, "nothing was served without overload");
    Ok(Peak { rate, by_tick: rate * began.elapsed().as_secs_f64() / (node.processor_ticks()? - ticks) })
}

/// Requests at a rate that nothing slows down; with the time until the last has ended.
async fn flood(node: &Node, rate: f64, lasting: Duration) -> anyhow::Result<(Vec<Asked>, Duration)> {
    let client = node.client(once())?;
    let mut beat = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let (began, mut under_way) = (Instant::now(), tokio::task::JoinSet::new());
    let mut seed = 0;
    while began.elapsed() < lasting {
        beat.tick().await;
        seed += 1;
        let client = client.clone();
        under_way.spawn(async move { timed(&client, &Ask::SMALL, seed % 16).await });
    }
    let ended = under_way.join_all().await;
    Ok((ended, began.elapsed()))
}
