//! What a node holds on to when it serves for long: memory and descriptors.

use std::fmt::Write;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::ask::{Ask, End, once, timed};
use crate::node::Node;
use crate::{Runs, Section};

/// What memory may grow by in an hour, in MiB.
const GOAL_MIB: f64 = 1.0;
/// Clients that ask at once.
const CLIENTS: usize = 4;
/// Looks at the node.
const LOOKS: usize = 12;

/// Serves images and answers, some of them left early, and looks at the process again and again. Memory's growth is told from
/// the second third of the time on: before, buffers grow to the sizes of the work.
///
/// # Errors
/// When the node does not run or the first image fails.
pub async fn soak(runs: &Runs<'_>) -> anyhow::Result<Section> {
    let lasting = runs.lasting.unwrap_or(Duration::from_secs(600));
    let node = Node::start(runs.binaries, runs.dir, &runs.model, "").await?;
    let End::Done(image) = timed(&node.client(once())?, &Ask::SMALL, 0).await.end else {
        anyhow::bail!("the first image failed")
    };
    let files_before = node.open_files()?;
    let (mut looks, mut served) = (vec![(0.0, node.resident_mib()?)], 0);
    let began = Instant::now();
    for look in 1..=LOOKS {
        let until = lasting.mul_f64(look as f64 / LOOKS as f64);
        let lanes = (0..CLIENTS as u64).map(|lane| ask_until(&node, &image, lane, began, until));
        served += join_all(lanes).await.into_iter().sum::<anyhow::Result<usize>>()?;
        looks.push((began.elapsed().as_secs_f64() / 3600.0, node.resident_mib()?));
    }
    // Connections of clients that are gone are closed in a moment.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let files_after = node.open_files()?;
    let growth = slope(&looks[LOOKS / 3..]);
    let told: Vec<String> = looks.iter().map(|(_, mib)| format!("{mib:.1}")).collect();
    let mut text = format!(
        "{CLIENTS} clients for {:.0} minutes, {served} requests: images and answers, one in eight left as soon as it began.\n\n",
        lasting.as_secs_f64() / 60.0
    );
    let _ = writeln!(text, "- memory at the beginning and at each of {LOOKS} looks, MiB: {}", told.join(", "));
    let _ = writeln!(text, "- growth from the second third on: {growth:.1} MiB an hour (goal {GOAL_MIB})");
    let _ = writeln!(text, "- descriptors before and after: {files_before}, {files_after}");
    let mut misses = Vec::new();
    if growth > GOAL_MIB {
        misses.push(format!("memory grows by {growth:.1} MiB an hour, goal {GOAL_MIB}"));
    }
    if files_after > files_before {
        misses.push(format!("{files_after} descriptors after, {files_before} before"));
    }
    Ok(Section { name: "soak", title: "Soak", text, misses })
}

async fn ask_until(node: &Node, image: &[u8], lane: u64, began: Instant, until: Duration) -> anyhow::Result<usize> {
    let mut n = 0;
    let mut seed = lane << 32;
    while began.elapsed() < until {
        seed += 1;
        let client = node.client(once())?;
        let ask = match seed % 3 {
            0 => Ask::Answer { image: image.to_vec(), tokens: 16 },
            _ => Ask::SMALL,
        };
        let patience = if seed.is_multiple_of(8) { Duration::from_millis(10) } else { Duration::from_secs(60) };
        match tokio::time::timeout(patience, timed(&client, &ask, seed)).await {
            Ok(asked) => anyhow::ensure!(matches!(asked.end, End::Done(_)), "{ask:?}: {:?}", asked.end),
            Err(_) if patience < Duration::from_secs(1) => {}
            Err(_) => anyhow::bail!("{ask:?} has no end"),
        }
        n += 1;
    }
    Ok(n)
}

/// Of a line through the points by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len().max(1) as f64;
    let (x, y) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let (over, under) =
        points.iter().fold((0.0, 0.0), |(over, under), p| (over + (p.0 - x) * (p.1 - y), under + (p.0 - x).powi(2)));
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::slope;

    #[test]
    fn a_line_has_its_slope() {
        assert!((slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) - 2.0).abs() < 1e-12);
        assert_eq!(slope(&[(1.0, 1.0)]), 0.0);
    }
}
