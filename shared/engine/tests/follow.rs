//! Jobs that go on: each of their parts is computed, shared and given up like a job of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use unipic_engine::{
    BatchReport, Computed, Engine, EngineConfig, EngineError, Follow, JobContext, JobError, Lane, Observer, Outcome,
    Worker,
};

/// A countdown by name.
#[derive(Clone, Copy, Debug)]
struct Count {
    id: u32,
    left: u32,
}

type Log = Arc<Mutex<Vec<Vec<u32>>>>;

/// Takes one off every countdown of a batch, and goes on with those that have something left. Countdown 13 fails at 2, and
/// 14 panics there.
struct Countdown {
    batches: Log,
}

impl Worker for Countdown {
    type Job = Count;
    type Reply = Count;

    fn tokens(&self, _: &Count) -> usize {
        1
    }

    fn kind(&self, _: &Count) -> u32 {
        0
    }

    fn run(&mut self, jobs: Vec<Count>) -> Computed<Count, Count> {
        self.batches.lock().unwrap().push(jobs.iter().map(|job| job.id).collect());
        std::thread::sleep(Duration::from_millis(2));
        let step = |Count { id, left }| match (id, left) {
            (13, 2) => Err(JobError::new("unlucky")),
            (14, 2) => panic!("unluckier"),
            _ => Ok(Count { id, left: left - 1 }),
        };
        Ok(jobs.into_iter().map(step).collect())
    }

    fn follow(&mut self, reply: Count) -> Follow<Count, Count> {
        if reply.left == 0 { Follow::Answer(reply) } else { Follow::Again(reply) }
    }
}

/// Counts what it is told.
#[derive(Default)]
struct Told {
    queued: Mutex<i64>,
    ended: Mutex<Vec<Outcome>>,
    batches: Mutex<usize>,
}

impl Observer for Told {
    fn job_queued(&self) {
        *self.queued.lock().unwrap() += 1;
    }

    fn job_left_queue(&self) {
        *self.queued.lock().unwrap() -= 1;
    }

    fn job_ended(&self, outcome: Outcome) {
        self.ended.lock().unwrap().push(outcome);
    }

    fn batch_ran(&self, _: &BatchReport<'_>) {
        *self.batches.lock().unwrap() += 1;
    }
}

fn bench(queue_capacity: usize) -> (Engine, Lane<Count, Count>, Log, Arc<Told>) {
    let (told, batches) = (Arc::new(Told::default()), Log::default());
    let config = EngineConfig { name: "fake".into(), queue_capacity, max_batch_tokens: 100 };
    let engine = Engine::spawn_observed(config, told.clone()).unwrap();
    let lane = engine.add_worker(Countdown { batches: batches.clone() });
    (engine, lane, batches, told)
}

#[tokio::test]
async fn a_job_goes_on_until_it_is_answered_once() {
    let (_engine, lane, batches, told) = bench(1);
    let done = lane.submit(Count { id: 1, left: 5 }, &JobContext::current()).await.unwrap();
    assert_eq!((done.reply.id, done.reply.left), (1, 0));
    assert_eq!(*batches.lock().unwrap(), vec![vec![1]; 5]);
    assert!(done.ran >= Duration::from_millis(10), "all of its parts count: {:?}", done.ran);
    assert_eq!(*told.ended.lock().unwrap(), [Outcome::Answered]);
    assert_eq!((*told.queued.lock().unwrap(), *told.batches.lock().unwrap()), (0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_later_joins_at_the_next_part() {
    let (_engine, lane, batches, _) = bench(4);
    let context = JobContext::current();
    let long = tokio::spawn({
        let (lane, context) = (lane.clone(), context.clone());
        async move { lane.submit(Count { id: 1, left: 60 }, &context).await }
    });
    while batches.lock().unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    lane.submit(Count { id: 2, left: 3 }, &context).await.unwrap();
    assert_eq!(long.await.unwrap().unwrap().reply.left, 0);
    let batches = batches.lock().unwrap();
    assert_eq!(batches.len(), 60, "the short one cost no pass of its own");
    assert_eq!(batches.iter().filter(|batch| batch.len() == 2).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_goes_on_ends_with_its_deadline_its_caller_or_the_engine() {
    let (engine, lane, batches, told) = bench(4);
    let endless = Count { id: 1, left: u32::MAX };
    let late = JobContext { deadline: Some(Instant::now() + Duration::from_millis(30)), ..JobContext::current() };
    assert_eq!(lane.submit(endless, &late).await.unwrap_err(), EngineError::DeadlineExceeded);

    let cancel = CancellationToken::new();
    let context = JobContext { cancel: cancel.clone(), ..JobContext::current() };
    let running = lane.submit(endless, &context);
    let cancelled = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        cancel.cancel();
    };
    assert_eq!(tokio::join!(running, cancelled).0.unwrap_err(), EngineError::Cancelled);
    // At most the part that ran at that moment is computed to its end.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let computed = batches.lock().unwrap().len();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(batches.lock().unwrap().len(), computed, "nothing is computed for one who has gone");

    let running = tokio::spawn(async move { lane.submit(endless, &JobContext::current()).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    engine.close();
    assert_eq!(running.await.unwrap().unwrap_err(), EngineError::Closed);
    assert_eq!(*told.ended.lock().unwrap(), [Outcome::DeadlineExceeded, Outcome::Cancelled, Outcome::Closed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_fails_is_the_answer() {
    let (_engine, lane, ..) = bench(4);
    let context = JobContext::current();
    for (id, reason) in [(13, "unlucky"), (14, "the worker panicked: unluckier")] {
        let failed = lane.submit(Count { id, left: 4 }, &context).await.unwrap_err();
        assert_eq!(failed, EngineError::Fault(reason.into()));
    }
    assert_eq!(lane.submit(Count { id: 1, left: 2 }, &context).await.unwrap().reply.left, 0);
}
