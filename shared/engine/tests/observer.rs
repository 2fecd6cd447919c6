//! What an observer is told: every job ends once, in the way it did, and nothing stays in the queue's count.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tracing::Span;
use unipic_engine::{
    BatchReport, Computed, Engine, EngineConfig, EngineError, JobContext, JobError, Lane, Observer, Outcome, Worker,
};

/// Keeps what it is told.
#[derive(Default)]
struct Watch {
    waiting: AtomicI64,
    /// Jobs that ever waited.
    joined: AtomicI64,
    outcomes: Mutex<Vec<Outcome>>,
    /// Kind, tokens and number of jobs.
    batches: Mutex<Vec<(&'static str, Option<usize>, usize)>>,
}

impl Watch {
    /// One job has come, and was taken.
    fn is_held(&self) -> bool {
        self.joined.load(Ordering::SeqCst) == 1 && self.waiting.load(Ordering::SeqCst) == 0
    }
}

impl Observer for Watch {
    fn job_queued(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.joined.fetch_add(1, Ordering::SeqCst);
    }

    fn job_left_queue(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn job_ended(&self, outcome: Outcome) {
        self.outcomes.lock().unwrap().push(outcome);
    }

    fn batch_ran(&self, batch: &BatchReport<'_>) {
        self.batches.lock().unwrap().push((batch.kind, batch.tokens, batch.queued.len()));
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Job {
    /// Answers when the gate lets it.
    Gate,
    /// Answers.
    Fine,
    /// Fails.
    Bad,
    /// Runs alone.
    Large,
}

struct Gated(mpsc::Receiver<()>);

impl Worker for Gated {
    type Job = Job;
    type Reply = ();

    fn tokens(&self, job: &Job) -> usize {
        if *job == Job::Large { usize::MAX } else { 3 }
    }

    fn kind(&self, job: &Job) -> u32 {
        u32::from(*job == Job::Large)
    }

    fn kind_name(&self, kind: u32) -> &'static str {
        if kind == 1 { "large" } else { "small" }
    }

    fn run(&mut self, jobs: Vec<Job>) -> Computed<Job, ()> {
        if jobs.contains(&Job::Gate) {
            self.0.recv().unwrap();
        }
        Ok(jobs.iter().map(|job| if *job == Job::Bad { Err(JobError::new("bad")) } else { Ok(()) }).collect())
    }
}

fn context() -> JobContext {
    JobContext { span: Span::none(), ..JobContext::current() }
}

/// An engine of two places in its queue.
fn engine() -> (Engine, Lane<Job, ()>, mpsc::Sender<()>, Arc<Watch>) {
    let (open, gate) = mpsc::channel();
    let watch = Arc::new(Watch::default());
    let config = EngineConfig { name: "watched".into(), queue_capacity: 2, max_batch_tokens: 8 };
    let engine = Engine::spawn_observed(config, watch.clone()).unwrap();
    let lane = engine.add_worker(Gated(gate));
    (engine, lane, open, watch)
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen within 10 s");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn every_ending_is_told_once() {
    let (_engine, lane, open, watch) = engine();
    let waiting = |n: i64| {
        let watch = watch.clone();
        async move { until(|| watch.waiting.load(Ordering::SeqCst) == n).await }
    };
    let submit = |job, context: JobContext| {
        let lane = lane.clone();
        tokio::spawn(async move { lane.submit(job, &context).await.map(|done| done.reply) })
    };
    let held = submit(Job::Gate, context());
    // The worker is inside the gate once its job has come and left the queue: nothing else was there to take.
    until(|| watch.is_held()).await;
    let cancelled = context();
    let (first, second) = (submit(Job::Fine, cancelled.clone()), submit(Job::Bad, context()));
    waiting(2).await;
    assert_eq!(lane.submit(Job::Fine, &context()).await.unwrap_err(), EngineError::Full);
    cancelled.cancel.cancel();
    assert_eq!(first.await.unwrap(), Err(EngineError::Cancelled));
    let late = JobContext { deadline: Some(Instant::now()), ..context() };
    assert_eq!(lane.submit(Job::Fine, &late).await.unwrap_err(), EngineError::DeadlineExceeded);
    open.send(()).unwrap();
    held.await.unwrap().unwrap();
    assert_eq!(second.await.unwrap(), Err(EngineError::Fault("bad".into())));
    waiting(0).await;
    use Outcome::{Answered, Cancelled, DeadlineExceeded, Fault, Full};
    assert_eq!(*watch.outcomes.lock().unwrap(), [Full, Cancelled, DeadlineExceeded, Answered, Fault]);
    assert_eq!(*watch.batches.lock().unwrap(), [("small", Some(3), 1), ("small", Some(3), 1)]);
}

#[tokio::test]
async fn a_caller_that_goes_away_has_given_its_job_up() {
    let (engine, lane, open, watch) = engine();
    let held = lane.clone();
    let held = tokio::spawn(async move { held.submit(Job::Gate, &context()).await.map(drop) });
    until(|| watch.is_held()).await;
    let gone = lane.clone();
    let gone = tokio::spawn(async move { gone.submit(Job::Fine, &context()).await.map(drop) });
    until(|| watch.waiting.load(Ordering::SeqCst) == 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(*watch.outcomes.lock().unwrap(), [Outcome::Cancelled]);
    open.send(()).unwrap();
    held.await.unwrap().unwrap();
    lane.submit(Job::Large, &context()).await.unwrap();
    assert_eq!(watch.batches.lock().unwrap()[1..], [("large", None, 1)], "the abandoned job was never computed");
    engine.close();
    until(|| watch.waiting.load(Ordering::SeqCst) == 0).await;
}
