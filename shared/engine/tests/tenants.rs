//! Who goes when, where several tenants want the device, by a clock that moves only while something is computed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::Span;
use unipic_engine::{BatchReport, Clock, Computed, Engine, EngineConfig, JobContext, Lane, Observer, Worker};

/// Time that passes as workers say.
struct Moved(Mutex<Instant>);

impl Clock for Moved {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }
}

/// What passes of `n` tokens take.
type Pace = fn(usize) -> Duration;

/// A chip that is full with one row: time goes with the tokens.
fn narrow(tokens: usize) -> Duration {
    Duration::from_millis(tokens as u64)
}

/// A chip that takes no notice of rows.
fn vast(_: usize) -> Duration {
    Duration::from_millis(10)
}

/// Holds a batch while it is shut.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn shut(&self, is_shut: bool) {
        *self.0.0.lock().unwrap() = is_shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut is_shut = self.0.0.lock().unwrap();
        while *is_shut {
            is_shut = self.0.1.wait(is_shut).unwrap();
        }
    }
}

/// Jobs are a tenant's letter and a size.
type Job = (char, usize);

struct Device {
    clock: Arc<Moved>,
    pace: Pace,
    gate: Gate,
    passes: Arc<Mutex<Vec<String>>>,
}

impl Worker for Device {
    type Job = Job;
    type Reply = ();

    fn tokens(&self, job: &Job) -> usize {
        job.1
    }

    fn kind(&self, job: &Job) -> u32 {
        u32::from(job.0 == '-')
    }

    fn run(&mut self, jobs: Vec<Job>) -> Computed<Job, ()> {
        self.passes.lock().unwrap().push(jobs.iter().map(|job| job.0).collect());
        self.gate.pass();
        *self.clock.0.lock().unwrap() += (self.pace)(jobs.iter().map(|job| job.1).sum());
        Ok(jobs.iter().map(|_| Ok(())).collect())
    }
}

fn of(tenant: char) -> JobContext {
    JobContext { span: Span::none(), tenant: tenant.to_string().into(), ..JobContext::current() }
}

struct Silent;

impl Observer for Silent {
    fn batch_ran(&self, _: &BatchReport<'_>) {}
}

struct Bench {
    engine: Engine,
    lane: Lane<Job, ()>,
    clock: Arc<Moved>,
    gate: Gate,
    passes: Arc<Mutex<Vec<String>>>,
    running: JoinSet<()>,
}

impl Bench {
    /// A device whose pace is known, held inside a first job of `crowd`.
    async fn held(pace: Pace, crowd: char) -> Self {
        let clock = Arc::new(Moved(Mutex::new(Instant::now())));
        let config = EngineConfig { name: "device".into(), queue_capacity: 256, max_batch_tokens: 1000 };
        let engine = Engine::spawn_timed(config, Arc::new(Silent), clock.clone()).unwrap();
        let (gate, passes) = (Gate::default(), Arc::default());
        let device = Device { clock: clock.clone(), pace, gate: gate.clone(), passes: Arc::clone(&passes) };
        let lane = engine.add_worker(device);
        for tokens in (1..60).map(|i| 10 + 70 * (i % 6)) {
            lane.submit(('w', tokens), &of('w')).await.unwrap();
        }
        // Long enough for all of that to be forgotten but the pace.
        *clock.0.lock().unwrap() += Duration::from_secs(1);
        gate.shut(true);
        passes.lock().unwrap().clear();
        let mut bench = Self { engine, lane: lane.clone(), clock, gate, passes, running: JoinSet::new() };
        bench.running.spawn(async move {
            lane.submit(('-', 0), &of(crowd)).await.unwrap();
        });
        while bench.passes.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        bench
    }

    /// Another worker on the same thread.
    fn worker(&self) -> Lane<Job, ()> {
        let (clock, gate, passes) = (self.clock.clone(), self.gate.clone(), self.passes.clone());
        self.engine.add_worker(Device { clock, pace: narrow, gate, passes })
    }

    /// Queues a job of a tenant and waits until it stands there.
    async fn submit(&mut self, lane: &Lane<Job, ()>, tenant: char, tokens: usize) {
        self.submit_as(lane, tenant, tokens, of(tenant)).await;
    }

    /// The same under another letter than its tenant's.
    async fn submit_as(&mut self, lane: &Lane<Job, ()>, letter: char, tokens: usize, context: JobContext) {
        let (before, waiter) = (lane.queued(), lane.clone());
        self.running.spawn(async move {
            waiter.submit((letter, tokens), &context).await.unwrap();
        });
        while lane.queued() == before {
            tokio::task::yield_now().await;
        }
    }

    /// Queues jobs of equal size, a letter each.
    async fn submit_all(&mut self, tenants: &str, tokens: usize) {
        let lane = self.lane.clone();
        for tenant in tenants.chars() {
            self.submit(&lane, tenant, tokens).await;
        }
    }

    /// Lets the device go on to the end; the passes behind the first.
    async fn passes(mut self) -> Vec<String> {
        self.gate.shut(false);
        while let Some(done) = self.running.join_next().await {
            done.unwrap();
        }
        let passes = self.passes.lock().unwrap();
        passes[1..].to_vec()
    }
}

#[tokio::test]
async fn one_tenant_goes_by_age_and_fills_its_batches() {
    let mut bench = Bench::held(narrow, 'a').await;
    bench.submit_all("aaaaaaaa", 300).await;
    assert_eq!(bench.passes().await, ["aaa", "aaa", "aa"]);
}

#[tokio::test]
async fn what_a_tenant_waits_for_goes_before_what_it_has_done_in_the_background() {
    let mut bench = Bench::held(narrow, 'x').await;
    let lane = bench.lane.clone();
    for _ in 0..8 {
        bench.submit_as(&lane, 'b', 10, JobContext { is_background: true, ..of('n') }).await;
    }
    bench.submit_as(&lane, 'i', 10, of('n')).await;
    let passes = bench.passes().await;
    assert_eq!(passes[0], "i", "{passes:?}");
}

#[tokio::test]
async fn whoever_comes_last_with_one_job_waits_for_none_of_a_crowds() {
    let mut bench = Bench::held(narrow, 'n').await;
    bench.submit_all("nnnnnnnnq", 10).await;
    let passes = bench.passes().await;
    assert_eq!(passes[0], "q", "alone, since company would double its pass: {passes:?}");
    assert_eq!(passes.concat().matches('n').count(), 8);
    assert!(passes[1..].concat().chars().all(|tenant| tenant == 'n'));
}

#[tokio::test]
async fn where_rows_cost_nothing_all_share_the_pass_of_the_one_in_front() {
    let mut bench = Bench::held(vast, 'n').await;
    bench.submit_all("nnnnnnnnq", 10).await;
    assert_eq!(bench.passes().await, ["qnnnnnnnn"]);
}

#[tokio::test]
async fn passes_of_a_crowd_are_short_while_somebody_else_waits() {
    let mut bench = Bench::held(narrow, 'n').await;
    bench.submit_all("nnnnnnnn", 10).await;
    // Three of its jobs in a row, as of three requests: still few beside eight.
    bench.submit_all("qqq", 30).await;
    let passes = bench.passes().await;
    let last = passes.iter().rposition(|pass| pass.contains('q')).unwrap();
    assert!(passes[..last].iter().all(|pass| pass.matches('n').count() <= 1 || pass.contains('q')), "{passes:?}");
}

#[tokio::test]
async fn equal_tenants_get_equal_shares() {
    let mut bench = Bench::held(narrow, 'a').await;
    bench.submit_all("aaaaaaaaaaaa", 250).await;
    bench.submit_all("bbbbbbbbbbbb", 250).await;
    let passes = bench.passes().await.concat();
    let half = &passes[..12];
    let share = half.matches('b').count();
    assert!((4..=8).contains(&share), "of the first half {half}");
}

#[tokio::test]
async fn shares_hold_over_all_workers_of_a_device() {
    let mut bench = Bench::held(narrow, 'n').await;
    let other = bench.worker();
    for _ in 0..4 {
        bench.submit(&other.clone(), 'n', 100).await;
    }
    bench.submit_all("nnnnq", 100).await;
    let passes = bench.passes().await;
    assert_eq!(passes[0], "q", "ahead of what waits for the other worker, too: {passes:?}");
}
