//! Many requests, a few at a time; a failure is written down and does not stop the others.

use futures::StreamExt;
use serde::Serialize;

use crate::{ArtistError, EvalError};

/// So many failures in a row mean that the server is at fault rather than the prompts: the rest is not tried.
const FAILURES_IN_A_ROW: usize = 16;

/// What is told after each item. It is called from the evaluation's own task, so it must not block.
pub type Progress<'a> = dyn Fn(&Step<'_>) + Send + Sync + 'a;

/// An item came to its end.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Items that came to their end, this one included.
    pub done: usize,
    /// Items in all.
    pub total: usize,
    /// The item.
    pub item: &'a str,
    /// What became of it.
    pub outcome: StepOutcome<'a>,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome<'a> {
    /// It was made.
    Made,
    /// It was there already, from an earlier run.
    Kept,
    /// It failed, for this reason.
    Failed(&'a str),
}

/// An item that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The item.
    pub item: String,
    /// Why.
    pub error: String,
}

/// What became of all items.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Items made now.
    pub made: usize,
    /// Items that were there from an earlier run.
    pub kept: usize,
    /// Items that failed.
    pub failures: Vec<Failure>,
    /// Items that were not tried any more, because too many failed in a row.
    pub not_tried: usize,
}

impl Outcome {
    /// Whether every item is there. A command whose run is not complete must exit as failed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty() && self.not_tried == 0
    }
}

/// What came of one item.
pub(crate) enum Done<T> {
    /// It was made.
    Made(T),
    /// It was there.
    Kept(T),
}

/// Why an item came to nothing.
pub(crate) enum Lost {
    /// This item failed; others may work.
    Item(String),
    /// Nothing more can work, as when the disk is full.
    All(EvalError),
}

impl From<ArtistError> for Lost {
    fn from(error: ArtistError) -> Self {
        Self::Item(error.to_string())
    }
}

impl From<EvalError> for Lost {
    fn from(error: EvalError) -> Self {
        Self::All(error)
    }
}

/// Works through named items, `in_flight` at a time. Results come in the items' order, `None` where there is none.
///
/// # Errors
/// The first [`Lost::All`]; requests under way are cancelled then.
pub(crate) async fn run<J, T, F, W>(
    jobs: Vec<(String, J)>,
    in_flight: usize,
    progress: &Progress<'_>,
    work: W,
) -> Result<(Vec<Option<T>>, Outcome), EvalError>
where
    W: Fn(J) -> F,
    F: Future<Output = Result<Done<T>, Lost>>,
{
    let total = jobs.len();
    let mut results: Vec<Option<T>> = (0..total).map(|_| None).collect();
    let mut failures = Vec::new();
    let mut outcome = Outcome::default();
    let begun = jobs.into_iter().enumerate().map(|(at, (name, job))| {
        let work = work(job);
        async move { (at, name, work.await) }
    });
    let mut ends = std::pin::pin!(futures::stream::iter(begun).buffer_unordered(in_flight.max(1)));
    let (mut done, mut in_a_row) = (0, 0);
    while in_a_row < FAILURES_IN_A_ROW
        && let Some((at, item, end)) = ends.next().await
    {
        done += 1;
        in_a_row = if end.is_err() { in_a_row + 1 } else { 0 };
        let tell = |outcome| progress(&Step { done, total, item: &item, outcome });
        match end {
            Ok(Done::Made(result)) => {
                outcome.made += 1;
                results[at] = Some(result);
                tell(StepOutcome::Made);
            }
            Ok(Done::Kept(result)) => {
                outcome.kept += 1;
                results[at] = Some(result);
                tell(StepOutcome::Kept);
            }
            Err(Lost::Item(error)) => {
                tell(StepOutcome::Failed(&error));
                failures.push((at, Failure { item: item.clone(), error }));
            }
            Err(Lost::All(error)) => return Err(error),
        }
    }
    failures.sort_by_key(|(at, _)| *at);
    outcome.failures = failures.into_iter().map(|(_, failure)| failure).collect();
    outcome.not_tried = total - done;
    Ok((results, outcome))
}

/// Progress that nobody looks at.
#[cfg(test)]
pub(crate) fn silent(_: &Step<'_>) {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn jobs(n: usize) -> Vec<(String, usize)> {
        (0..n).map(|at| (format!("item {at}"), at)).collect()
    }

    #[tokio::test]
    async fn some_run_at_once_and_results_keep_their_order() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |at: usize| {
            let (now, most) = (&now, &most);
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(20 - at as u64)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                match at {
                    3 => Err(Lost::Item("three".into())),
                    4 => Ok(Done::Kept(at)),
                    _ => Ok(Done::Made(at)),
                }
            }
        };
        let (results, outcome) = run(jobs(10), 3, &silent, work).await.unwrap();
        assert_eq!(most.into_inner(), 3);
        assert_eq!(results.iter().flatten().copied().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
        let failure = Failure { item: "item 3".into(), error: "three".into() };
        assert_eq!(outcome, Outcome { made: 8, kept: 1, failures: vec![failure], not_tried: 0 });
        assert!(!outcome.is_complete());
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_not_asked_for_ever() {
        let work = |_| async { Err::<Done<()>, _>(Lost::Item("gone".into())) };
        let (_, outcome) = run(jobs(100), 4, &silent, work).await.unwrap();
        assert_eq!((outcome.failures.len(), outcome.not_tried), (FAILURES_IN_A_ROW, 100 - FAILURES_IN_A_ROW));
        assert!(!outcome.is_complete());
    }

    #[tokio::test]
    async fn what_stops_everything_stops_everything() {
        let tried = AtomicUsize::new(0);
        let work = |_| {
            tried.fetch_add(1, Ordering::Relaxed);
            async { Err::<Done<()>, _>(Lost::All(EvalError::Defect("full".into()))) }
        };
        assert!(run(jobs(100), 2, &silent, work).await.is_err());
        assert!(tried.into_inner() <= 3);
    }
}
