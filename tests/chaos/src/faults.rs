//! What goes wrong, when and where: one fault at a time, each made good before the next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integration::processes::{Cluster, Process};

use crate::Plan;

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SIGKILL, as a crash or a lack of memory would; then it is started again.
    Kill,
    /// SIGTERM, as a rollout would; then it is started again.
    Restart,
    /// SIGSTOP for some seconds, as a partition or a machine that swaps looks.
    Freeze,
}

/// A fault that was made.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What was done.
    pub kind: Kind,
    /// To a process of which service.
    pub service: &'static str,
    /// From the fault to the process serving again.
    pub took: Duration,
}

/// Makes faults for as long as the plan says; `asked` is how many requests have ended.
pub(crate) async fn make(cluster: &mut Cluster, plan: &Plan, asked: &AtomicUsize) -> anyhow::Result<Vec<Fault>> {
    let (mut draw, start, mut made) = (fastrand::Rng::with_seed(plan.seed), Instant::now(), Vec::new());
    while start.elapsed() < plan.duration || asked.load(Ordering::Relaxed) < plan.requests {
        tokio::time::sleep(Duration::from_millis(draw.u64(200..1500))).await;
        let kind = [Kind::Kill, Kind::Kill, Kind::Restart, Kind::Freeze][draw.usize(..4)];
        let services = [
            ("gateway", &mut cluster.gateways),
            ("understanding", &mut cluster.understanding),
            ("synthesis", &mut cluster.synthesis),
            ("decoder", &mut cluster.decoders),
        ];
        let which = draw.usize(..services.len());
        let Some((service, processes)) = services.into_iter().nth(which) else { continue };
        let index = draw.usize(..processes.len());
        let began = Instant::now();
        one(kind, &mut processes[index], &mut draw).await?;
        made.push(Fault { kind, service, took: began.elapsed() });
    }
    Ok(made)
}

async fn one(kind: Kind, process: &mut Process, draw: &mut fastrand::Rng) -> anyhow::Result<()> {
    match kind {
        Kind::Kill => {
            process.kill()?;
            tokio::time::sleep(Duration::from_millis(draw.u64(..500))).await;
            process.start_again()?;
        }
        Kind::Restart => {
            process.drain().await?;
            process.start_again()?;
        }
        Kind::Freeze => {
            process.signal("STOP")?;
            tokio::time::sleep(Duration::from_millis(draw.u64(500..6000))).await;
            process.signal("CONT")?;
        }
    }
    process.ready().await
}
