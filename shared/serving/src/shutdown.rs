//! The signals that end a process.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at SIGTERM (an orchestrator's stop) or SIGINT (ctrl-c).
///
/// Where a handler cannot be installed, that signal keeps its default, which ends the process at once.
pub async fn shutdown_signal() {
    let wait = async |kind: SignalKind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(error) => {
            tracing::warn!(%error, "no handler for a signal: it will end the process without a drain");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => tracing::info!("SIGTERM: stopping"),
        () = wait(SignalKind::interrupt()) => tracing::info!("interrupted: stopping"),
    }
}
