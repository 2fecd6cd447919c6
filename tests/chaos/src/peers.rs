//! What healthy clients notice of peers that mean no good: those that say nothing or next to nothing, that take back every
//! request they make, and that come and go as fast as they can.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::ask::{Ask, once};
use crate::neighbours::one_by_one;
use crate::node::Node;
use crate::section::percentile;
use crate::{Runs, Section};

/// What the slowest percent of healthy requests may take, to without such peers.
const GOAL: f64 = 2.0;
/// By when a peer that stops in the middle is closed.
const CLOSED: Duration = Duration::from_secs(10);
/// Connections that are slow at a time, half of them to the HTTP port.
const SLOW: usize = 200;
/// Requests that are taken back a second, over four connections.
const RESETS: usize = 1000;
/// Connections a second that come and go.
const FLOOD: usize = 500;

/// Peers of one kind.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Slow,
    Resets,
    Flood,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Slow, Self::Resets, Self::Flood];

    fn what(self) -> String {
        match self {
            Self::Slow => format!("{SLOW} connections that send a byte of a request in half a second, and come again"),
            Self::Resets => format!("{RESETS} requests a second, each reset as soon as it was made"),
            Self::Flood => format!("{FLOOD} connections a second that close at once"),
        }
    }
}

/// What the peers saw.
#[derive(Default)]
struct Seen {
    /// Connections or requests made.
    made: AtomicUsize,
    /// Seconds until the server closed a slow one.
    closed: Mutex<Vec<f64>>,
}

impl Seen {
    fn closed_after(&self) -> Vec<f64> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn was_closed(&self, after: Duration) {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).push(after.as_secs_f64());
    }
}

/// Measures healthy clients beside each kind.
///
/// # Errors
/// When the node does not run or a healthy request fails.
pub async fn peers(runs: &Runs<'_>) -> anyhow::Result<Section> {
    let node = Node::start(runs.binaries, runs.dir, &runs.model, "").await?;
    let (client, n, ask) = (node.client(once())?, runs.scaled(1000), Ask::SMALL);
    one_by_one(&client, &ask, 5).await?;
    let mut misses = Vec::new();
    let mut text =
        "A healthy client's images (64×64 px, 4 iterations, one after the other) alone and beside peers of each \
                    kind, which share the machine with it and with the node:\n\n\
                    | beside | made | median s | p99 s | p99 to alone |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for kind in Kind::ALL {
        let alone = one_by_one(&client, &ask, n).await?;
        let (seen, going) = (Arc::new(Seen::default()), attack(kind, &node, runs));
        let mut lanes = JoinSet::new();
        going.into_iter().for_each(|lane| drop(lanes.spawn(lane.run(Arc::clone(&seen)))));
        // Until they are all there.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let beside = one_by_one(&client, &ask, n).await?;
        let closed = closed(kind, &seen).await;
        lanes.shutdown().await;
        let (one, other) = (percentile(&alone, 0.99), percentile(&beside, 0.99));
        let (made, ratio) = (seen.made.load(Ordering::Relaxed), other / one);
        let _ = writeln!(
            text,
            "| (nothing) | | {:.3} | {one:.3} | 1.00 |\n| {} | {made} | {:.3} | {other:.3} | {ratio:.2} |",
            percentile(&alone, 0.5),
            kind.what(),
            percentile(&beside, 0.5)
        );
        if ratio > GOAL {
            misses.push(format!("beside {}: {ratio:.2} times the p99, goal {GOAL}", kind.what()));
        }
        misses.extend(
            closed.filter(|after| *after > CLOSED.as_secs_f64()).map(|after| format!("closed in {after:.1} s")),
        );
        if let Some(after) = closed {
            let _ = writeln!(text, "| slow ones closed after, at the longest | | | {after:.1} | |");
        }
    }
    Ok(Section { name: "peers", title: "Slow and hasty peers", text, misses })
}

/// The longest that a slow peer was let stay; waits for the first ones to be closed.
async fn closed(kind: Kind, seen: &Seen) -> Option<f64> {
    if !matches!(kind, Kind::Slow) {
        return None;
    }
    let until = Instant::now() + 2 * CLOSED;
    while seen.closed_after().len() < SLOW && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Those that were never closed have stayed for longer than anybody was waited for.
    let all = seen.closed_after();
    Some(if all.len() < SLOW { (2 * CLOSED).as_secs_f64() } else { percentile(&all, 1.0) })
}

/// One of the peers.
struct Lane {
    kind: Kind,
    port: u16,
    is_http: bool,
    pause: Duration,
}

/// Peers enough for the kind's rate, fewer in a short run.
fn attack(kind: Kind, node: &Node, runs: &Runs<'_>) -> Vec<Lane> {
    let (n, rate) = match kind {
        Kind::Slow => (SLOW, 2 * SLOW),
        Kind::Resets => (4, runs.scaled(RESETS)),
        Kind::Flood => (10, runs.scaled(FLOOD)),
    };
    let pause = Duration::from_secs_f64(n as f64 / rate.max(1) as f64);
    let lane = |i: usize| {
        let http = node.process.http_port.filter(|_| i % 2 == 1 && !matches!(kind, Kind::Resets));
        Lane { kind, port: http.unwrap_or(node.process.port), is_http: http.is_some(), pause }
    };
    (0..n).map(lane).collect()
}

impl Lane {
    /// Goes on until it is stopped, with a pause behind every connection.
    async fn run(self, seen: Arc<Seen>) {
        loop {
            // How it ended is not looked at: being closed is what such a peer has to expect.
            let _ = match self.kind {
                Kind::Slow => self.dawdle(&seen).await,
                Kind::Resets => self.take_back(&seen).await,
                Kind::Flood => self.come_and_go(&seen).await,
            };
            tokio::time::sleep(self.pause).await;
        }
    }

    /// One connection that never gets to its request.
    async fn dawdle(&self, seen: &Seen) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        seen.made.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let said: &[u8] =
            if self.is_http { b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nX: " } else { b"PRI * HTTP/2.0" };
        let mut beat = tokio::time::interval(self.pause);
        for byte in said.iter().chain(std::iter::repeat(&b'x')) {
            let mut buffer = [0; 256];
            tokio::select! {
                _ = beat.tick() => if stream.write_all(&[*byte]).await.is_err() { break },
                read = stream.read(&mut buffer) => if matches!(read, Ok(0) | Err(_)) { break },
            }
        }
        seen.was_closed(began.elapsed());
        Ok(())
    }

    /// One connection of requests that are not waited for.
    async fn take_back(&self, seen: &Seen) -> anyhow::Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let (mut requests, connection) = h2::client::handshake(stream).await?;
        let mut driving = JoinSet::new();
        driving.spawn(async move { connection.await.is_ok() });
        let mut beat = tokio::time::interval(self.pause);
        loop {
            beat.tick().await;
            requests = requests.ready().await?;
            let path = format!("http://127.0.0.1:{}/unipic.v1.UniPic/Generate", self.port);
            let request = http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
            let (_, mut body) = requests.send_request(request.body(())?, false)?;
            body.send_reset(h2::Reason::CANCEL);
            seen.made.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One connection and no more.
    async fn come_and_go(&self, seen: &Seen) -> anyhow::Result<()> {
        drop(TcpStream::connect(("127.0.0.1", self.port)).await?);
        seen.made.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
