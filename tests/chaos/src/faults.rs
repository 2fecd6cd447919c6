//! What goes wrong, when and where: one fault at a time, each made good before the next.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integration::processes::{Cluster, Process};

use crate::Plan;
use crate::sockets::{self, Link};

/// The longest freeze: half of them outlast the keepalives that notice it.
const LONGEST_FREEZE_MS: u64 = 9000;

/// How often the links of a frozen process are looked at.
const LOOK: Duration = Duration::from_millis(50);

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
    /// When it was done.
    pub at: Instant,
    /// When it was made good: the process started again, or let go on.
    pub over: Instant,
    /// When the process served again.
    pub served: Instant,
    /// Of a freeze of a process with connections to others: whether and how long after it they had all closed them.
    pub left: Option<Option<Duration>>,
}

/// Makes faults for as long as the plan says; `asked` is how many requests have ended.
pub(crate) async fn make(cluster: &mut Cluster, plan: &Plan, asked: &AtomicUsize) -> anyhow::Result<Vec<Fault>> {
    let (mut draw, start, mut made) = (fastrand::Rng::with_seed(plan.seed), Instant::now(), Vec::new());
    while start.elapsed() < plan.duration || asked.load(Ordering::Relaxed) < plan.requests {
        tokio::time::sleep(Duration::from_millis(draw.u64(200..1500))).await;
        let kind = [Kind::Kill, Kind::Kill, Kind::Restart, Kind::Freeze][draw.usize(..4)];
        let servers: Vec<u16> = cluster.processes().map(|process| process.port).collect();
        let services = [
            ("gateway", &mut cluster.gateways),
            ("understanding", &mut cluster.understanding),
            ("synthesis", &mut cluster.synthesis),
            ("decoder", &mut cluster.decoders),
        ];
        let which = draw.usize(..services.len());
        let Some((service, processes)) = services.into_iter().nth(which) else { continue };
        let index = draw.usize(..processes.len());
        let process = &mut processes[index];
        let at = Instant::now();
        let left = one(kind, process, &servers, &mut draw).await?;
        let over = Instant::now();
        process.ready().await?;
        made.push(Fault { kind, service, at, over, served: Instant::now(), left });
    }
    Ok(made)
}

/// Makes a fault, and makes it good. [`Fault::left`] comes back.
async fn one(
    kind: Kind,
    process: &mut Process,
    servers: &[u16],
    draw: &mut fastrand::Rng,
) -> anyhow::Result<Option<Option<Duration>>> {
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
            let links = sockets::outgoing(process.id(), servers);
            let lasting = Duration::from_millis(draw.u64(500..LONGEST_FREEZE_MS));
            process.signal("STOP")?;
            let left = leave(&links, lasting).await;
            process.signal("CONT")?;
            return Ok((!links.is_empty()).then_some(left));
        }
    }
    Ok(None)
}

/// Waits so long; when the servers of these links had closed them all, if they did.
async fn leave(links: &BTreeSet<Link>, lasting: Duration) -> Option<Duration> {
    let (began, mut left) = (Instant::now(), None);
    while began.elapsed() < lasting {
        tokio::time::sleep(LOOK.min(lasting.saturating_sub(began.elapsed()))).await;
        if left.is_none() && !sockets::any_held(links) {
            left = Some(began.elapsed());
        }
    }
    left
}
