//! The signals that end a process.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves at SIGTERM (an orchestrator's stop) or SIGINT (ctrl-c).
///
/// Where a handler cannot be installed, that signal keeps its default, which ends the process at once.
pub async fn shutdown_signal() {
    let name = Signals::install().next().await.name();
    tracing::info!("{name}: stopping");
}

/// [`shutdown_signal`] for servers, which may drain for minutes: a second signal ends the process at once, with the status
/// that a shell gives for the signal.
pub async fn stop_signal() {
    let mut signals = Signals::install();
    let name = signals.next().await.name();
    tracing::info!("{name}: stopping when the calls under way have ended; a second signal stops at once");
    // On a task of its own: whoever waited for the first one is busy draining.
    tokio::spawn(async move {
        let second = signals.next().await;
        tracing::warn!("{}: stopped at once, with the calls under way", second.name());
        std::process::exit(second.status());
    });
}

/// Handlers of both signals. They stay: none that comes while one is dealt with is lost.
struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
}

#[derive(Debug, Clone, Copy)]
enum Stop {
    Terminate,
    Interrupt,
}

impl Stop {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    fn status(self) -> i32 {
        match self {
            Self::Terminate => 128 + SignalKind::terminate().as_raw_value(),
            Self::Interrupt => 128 + SignalKind::interrupt().as_raw_value(),
        }
    }
}

impl Signals {
    fn install() -> Self {
        let install = |kind| {
            signal(kind)
                .inspect_err(|error| {
                    tracing::warn!(%error, "no handler for a signal: it will end the process without a drain");
                })
                .ok()
        };
        Self { terminate: install(SignalKind::terminate()), interrupt: install(SignalKind::interrupt()) }
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            () = came(&mut self.terminate) => Stop::Terminate,
            () = came(&mut self.interrupt) => Stop::Interrupt,
        }
    }
}

/// Waits for a signal; for ever where it has no handler.
async fn came(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
