//! The task of each HTTP/2 stream: how many a connection has, and their end where nobody takes what is sent.
//!
//! hyper asks a response's body for nothing while its peer leaves no room for more, so a body cannot keep its own deadline:
//! a caller that stops reading would hold its call for as long as it stays connected. The task around it can end it.

use std::cell::Cell;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Code;
use unipic_telemetry::Verdict;

/// How long the status of a late call may wait for its caller; then its stream is reset.
const LAST_WORD: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// Where the call on this task's stream says until when it lasts.
    static LIMIT: Cell<Option<oneshot::Sender<Limit>>>;
}

struct Limit {
    deadline: Instant,
    verdict: Verdict,
}

/// Has the stream that is driven here end soon after `deadline`, and `verdict` say that it was late. Does nothing outside
/// of a stream's task.
pub(crate) fn ends_by(deadline: Instant, verdict: Verdict) {
    let _ = LIMIT.try_with(|limit| {
        // A stream that is over needs no limit.
        limit.take().map(|limit| limit.send(Limit { deadline, verdict }))
    });
}

/// Drives the streams of a connection and counts them. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams {
    open: watch::Sender<usize>,
}

impl Streams {
    /// Waits until there has been no stream for `limit`.
    pub(crate) async fn idle(&self, limit: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // Any change counts, also one that is over again: a short call is no idleness.
            let is_idle = *open.borrow_and_update() == 0;
            // The sender is ours, so there always is a change to come.
            let changed = async { drop(open.changed().await) };
            if !is_idle {
                changed.await;
            } else if timeout(limit, changed).await.is_err() {
                return;
            }
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let open = Open::new(&self.open);
        tokio::spawn(drive(stream, open));
    }
}

/// Drives a stream to its end, or until its call's time is over and its peer still takes nothing.
async fn drive(stream: impl Future<Output = ()>, _open: Open) {
    let (tell, told) = oneshot::channel();
    let stream = LIMIT.scope(Cell::new(Some(tell)), stream);
    let late = async {
        let Ok(Limit { deadline, verdict }) = told.await else { return std::future::pending().await };
        sleep_until(deadline + LAST_WORD).await;
        verdict.set(Code::DeadlineExceeded);
    };
    tokio::select! {
        biased;
        () = stream => {}
        () = late => tracing::debug!("a late call's stream was reset: its caller takes nothing"),
    }
}

/// A stream that is counted.
struct Open(watch::Sender<usize>);

impl Open {
    fn new(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idleness_begins_anew_with_every_stream() {
        let (streams, start) = (Streams::default(), Instant::now());
        let seconds = |n| Duration::from_secs(n);
        streams.execute(tokio::time::sleep(seconds(100)));
        let short = streams.clone();
        tokio::spawn(async move {
            tokio::time::sleep(seconds(105)).await;
            short.execute(async {});
        });
        streams.idle(seconds(10)).await;
        assert_eq!(start.elapsed().as_secs(), 115);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_stands_still_ends_behind_its_deadline() {
        let (streams, start, verdict) = (Streams::default(), Instant::now(), Verdict::default());
        let limit = verdict.clone();
        streams.execute(async move {
            ends_by(start + Duration::from_secs(5), limit);
            std::future::pending::<()>().await;
        });
        streams.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
        assert_eq!((start.elapsed().as_secs(), verdict.get()), (6, Some(Code::DeadlineExceeded)));
    }
}
