//! A device that has no memory for a batch: halves are tried, down to single jobs, and the thread lives.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Arc, Condvar, Mutex};

use tokio::task::JoinSet;
use unipic_engine::{Computed, Engine, EngineConfig, EngineError, Exhausted, JobContext, JobError, Lane, Worker};

/// Has memory for so many tokens at once, and notes what it was given. Waits for its first batch to be let go.
struct Small {
    room: usize,
    batches: Arc<Mutex<Vec<Vec<usize>>>>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Worker for Small {
    type Job = usize;
    type Reply = usize;

    fn tokens(&self, job: &usize) -> usize {
        *job
    }

    fn kind(&self, _: &usize) -> u32 {
        0
    }

    fn run(&mut self, jobs: Vec<usize>) -> Computed<usize, usize> {
        self.batches.lock().unwrap().push(jobs.clone());
        let mut open = self.gate.0.lock().unwrap();
        while !*open {
            open = self.gate.1.wait(open).unwrap();
        }
        match jobs.iter().sum::<usize>() > self.room {
            // One that finds out late, job by job, says so of the job.
            true if jobs == [77] => Ok(vec![Err(JobError::exhausted("out of memory"))]),
            true if jobs[0] == 13 => Err(Exhausted { jobs: Vec::new(), reason: "out of memory".into() }),
            true => Err(Exhausted { jobs, reason: "out of memory".into() }),
            false => Ok(jobs.into_iter().map(Ok).collect()),
        }
    }
}

/// Batches behind the first job, and what each of `jobs` is answered, when all wait for a device of 10 tokens.
async fn run(jobs: &[usize]) -> (Vec<Vec<usize>>, Vec<Result<usize, EngineError>>) {
    let engine = EngineConfig { name: "small".into(), queue_capacity: 64, max_batch_tokens: 1000 };
    let (batches, gate) = (Arc::default(), Arc::<(Mutex<bool>, Condvar)>::default());
    let worker = Small { room: 10, batches: Arc::clone(&batches), gate: gate.clone() };
    let lane: Lane<usize, usize> = Engine::spawn(engine).unwrap().add_worker(worker);
    let mut running = JoinSet::new();
    for (i, job) in [1].iter().chain(jobs).copied().enumerate() {
        let waiter = lane.clone();
        running.spawn(async move { (i, waiter.submit(job, &JobContext::current()).await.map(|done| done.reply)) });
        // The first is taken at once, the others wait behind it.
        while batches.lock().unwrap().is_empty() || lane.queued() < i {
            tokio::task::yield_now().await;
        }
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let mut answers = running.join_all().await;
    answers.sort_by_key(|(i, _)| *i);
    assert_eq!(lane.submit(5, &JobContext::current()).await.unwrap().reply, 5, "the thread lives");
    let mut batches = batches.lock().unwrap().clone();
    batches.pop();
    (batches.split_off(1), answers.into_iter().skip(1).map(|(_, answer)| answer).collect())
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_halved_until_it_does() {
    let (batches, answers) = run(&[4, 4, 4, 4, 4]).await;
    assert_eq!(answers, [4; 5].map(Ok));
    assert_eq!(batches, [vec![4; 5], vec![4; 2], vec![4; 3], vec![4; 1], vec![4; 2]]);
}

#[tokio::test]
async fn one_that_never_fits_is_told_so_and_costs_the_others_nothing() {
    let exhausted = || Err(EngineError::Exhausted("out of memory".into()));
    assert_eq!(run(&[3, 50, 3]).await.1, [Ok(3), exhausted(), Ok(3)]);
    assert_eq!(run(&[50]).await.1, [exhausted()]);
    assert_eq!(run(&[77]).await.1, [exhausted()]);
}

#[tokio::test]
async fn a_worker_that_loses_jobs_on_the_way_is_at_fault() {
    let (_, answers) = run(&[13]).await;
    let [Err(EngineError::Fault(reason))] = &answers[..] else { panic!("{answers:?}") };
    assert!(reason.contains("gave 0 of 1 jobs back"), "{reason}");
}
