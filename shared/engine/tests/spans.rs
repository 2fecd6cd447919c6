//! What a trace shows of the engine: a queue span in each request, and batch spans linked to the requests they serve.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Span, Subscriber, info_span};
use unipic_engine::{Computed, Engine, EngineConfig, JobContext, Worker};

/// Keeps spans by name, with parent and links.
#[derive(Default)]
struct Recorder {
    next: AtomicU64,
    seen: Arc<Mutex<Vec<Recorded>>>,
}

#[derive(Clone, Debug)]
struct Recorded {
    id: u64,
    name: &'static str,
    parent: Option<u64>,
    links: Vec<u64>,
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        let parent = span.parent().map(Id::into_u64);
        let name = span.metadata().name();
        self.seen.lock().unwrap().push(Recorded { id, name, parent, links: Vec::new() });
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        let mut seen = self.seen.lock().unwrap();
        seen.iter_mut().find(|s| s.id == span.into_u64()).unwrap().links.push(follows.into_u64());
    }

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Echo;

impl Worker for Echo {
    type Job = ();
    type Reply = ();

    fn tokens(&self, (): &()) -> usize {
        1
    }

    fn kind(&self, (): &()) -> u32 {
        0
    }

    fn run(&mut self, jobs: Vec<()>) -> Computed<(), ()> {
        info_span!("work").in_scope(|| Ok(jobs.iter().map(|()| Ok(())).collect()))
    }
}

#[tokio::test]
async fn batches_link_to_their_jobs_and_jobs_show_their_wait() {
    // The thread is started outside the subscriber: batches must be recorded where their jobs are.
    let config = EngineConfig { name: "traced".into(), queue_capacity: 4, max_batch_tokens: 4 };
    let lane = Engine::spawn(config).unwrap().add_worker(Echo);
    let recorder = Recorder::default();
    let seen = recorder.seen.clone();
    let _guard = tracing::subscriber::set_default(recorder);

    let probe = info_span!("probe");
    let context = JobContext { span: probe.clone(), ..JobContext::current() };
    lane.submit((), &context).await.unwrap();
    let silent = context.with_span(Span::none());
    lane.submit((), &silent).await.unwrap();

    let seen = seen.lock().unwrap().clone();
    let named = |name: &str| seen.iter().filter(|s| s.name == name).collect::<Vec<_>>();
    let probe = probe.id().unwrap().into_u64();
    assert_eq!(named("queue").len(), 1, "a job with a disabled span leaves no trace: {seen:?}");
    assert_eq!(named("queue")[0].parent, Some(probe));
    assert_eq!(named("batch").len(), 1);
    assert_eq!(named("batch")[0].parent, None);
    assert_eq!(named("batch")[0].links, [probe]);
}
