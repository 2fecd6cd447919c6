//! Connections as they come, each on a task of its own.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::connections::{Census, ConnectionsConfig, Entry, MAX_CONNECTIONS};
use crate::listen::{Accepted, Listener};
use crate::seldom::Seldom;

/// Accepts connections until `shutdown` resolves, each driven by a task of its own; returns those still open.
pub(crate) async fn accept_until<F>(
    listener: &Listener,
    config: &ConnectionsConfig,
    shutdown: impl Future<Output = ()>,
    connect: impl Fn(Accepted) -> F,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let room = Room { census: Census::new(config), refused: Seldom::default() };
    loop {
        let accepted = tokio::select! {
            // In this order, so that a simulation finds the same one first every time.
            biased;
            () = &mut shutdown => return connections,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => {
                if let Some(entry) = room.take(connections.len(), &accepted) {
                    let connection = connect(accepted);
                    connections.spawn(async move {
                        let _entry = entry;
                        connection.await;
                    });
                }
            }
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would only burn the processor.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Room for connections, and what is said when there is none.
struct Room {
    census: Census,
    refused: Seldom,
}

impl Room {
    /// Lets a connection in beside `open` others. A Unix socket's counts for nobody.
    fn take(&self, open: usize, accepted: &Accepted) -> Option<Option<Entry>> {
        let peer = match accepted {
            Accepted::Tcp(_, peer) | Accepted::Other(_, peer) => Some(peer.ip()),
            Accepted::Unix(_) => None,
        };
        if open >= MAX_CONNECTIONS {
            if let Some(further) = self.refused.due() {
                tracing::warn!(further, "{MAX_CONNECTIONS} connections are open: one more was closed");
            }
            return None;
        }
        let Some(peer) = peer else { return Some(None) };
        let entry = self.census.enter(peer);
        if entry.is_none()
            && let Some(further) = self.refused.due()
        {
            tracing::warn!(
                %peer,
                further,
                "this address has all the connections that it may have: one more was closed; a proxy may need more, see \
                 `connections.max_per_address`"
            );
        }
        entry.map(Some)
    }
}
