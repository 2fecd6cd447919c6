//! The end of a server: calls under way are waited for, then given up, then connections are closed.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long connections may take to close once no call is waited for. Calls that are given up have as long to be told so;
/// clients that take no notice of being sent away are cut off after it.
const CLOSING: Duration = Duration::from_secs(1);

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Calls that were still under way when the drain limit passed, and were cut off.
    pub calls_cut_off: usize,
}

/// Waits for the calls under way within `limit`, then for the connections to close, then closes them. `cut` tells calls
/// that are given up, and health watches, why they end.
pub(crate) async fn finish(
    mut connections: JoinSet<()>,
    calls: TaskTracker,
    limit: Duration,
    cut: CancellationToken,
) -> Drained {
    calls.close();
    tracing::info!(calls = calls.len(), connections = connections.len(), limit_s = limit.as_secs_f64(), "draining");
    // Connections go on being driven: they run in their own tasks.
    let calls_cut_off = match timeout(limit, calls.wait()).await {
        Ok(()) => 0,
        Err(_) => calls.len(),
    };
    cut.cancel();
    let closed = async { while connections.join_next().await.is_some() {} };
    if timeout(CLOSING, closed).await.is_err() {
        tracing::debug!("connections are cut off");
    }
    connections.shutdown().await;
    tracing::info!(calls_cut_off, "stopped");
    Drained { calls_cut_off }
}
