//! A request's spans: one per iteration with what it moved, and each step below it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use support::decoder::FakeDecoder;
use support::{Direct, picture, service, settings, spec};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, info_span};
use unipic_engine::JobContext;
use unipic_synthesis::SynthesisSpec;
use unipic_synthesis::remote::RemoteDecoder;

type Spans = Arc<Mutex<BTreeMap<u64, Seen>>>;

#[derive(Clone, Debug)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

/// Keeps spans, with their parents and fields.
#[derive(Default)]
struct Recorder {
    next: AtomicU64,
    spans: Spans,
}

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        let current = || ENTERED.with_borrow(|entered| entered.last().copied());
        let parent = if span.is_contextual() { current() } else { span.parent().map(Id::into_u64) };
        let mut seen = Seen { name: span.metadata().name(), parent, fields: BTreeMap::new() };
        span.record(&mut seen);
        self.spans.lock().unwrap().insert(id, seen);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        values.record(self.spans.lock().unwrap().get_mut(&span.into_u64()).unwrap());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.pop());
    }
}

/// Names from a span up to the request's.
fn path(spans: &BTreeMap<u64, Seen>, mut id: u64) -> String {
    let mut names = Vec::new();
    while let Some(seen) = spans.get(&id) {
        names.push(seen.name);
        id = seen.parent.unwrap_or(0);
    }
    names.reverse();
    names.join("/")
}

#[tokio::test]
async fn every_step_of_a_request_is_a_span_below_it() {
    let (endpoint, _) = FakeDecoder::start(Direct::load(&[]).unwrap(), usize::MAX).await.unwrap();
    let service = service(RemoteDecoder::new(&[endpoint.parse().unwrap()]).unwrap()).unwrap();
    let recorder = Recorder::default();
    let spans = recorder.spans.clone();
    let _guard = tracing::subscriber::set_default(recorder);

    let request = info_span!("request");
    let context = JobContext { span: request, ..JobContext::current() };
    let asked = SynthesisSpec { source: Some(picture(64, 64)), ..spec("make it blue", settings(7)) };
    let mut stream = service.synthesize(asked, context).unwrap();
    while let Some(event) = stream.next().await {
        event.unwrap();
    }
    drop(stream);

    let spans = spans.lock().unwrap().clone();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for id in spans.keys() {
        *counts.entry(path(&spans, *id)).or_default() += 1;
    }
    for (path, n) in [
        ("request/source/queue", 1),
        ("request/prefill/rpc.client", 1),
        ("request/iteration", 4),
        ("request/iteration/encode/queue", 4),
        ("request/iteration/probe", 4),
        ("request/iteration/decode/queue", 4),
        ("request/iteration/head", 4),
        // Only the first of the five head steps is traced.
        ("request/iteration/head/queue", 4),
        ("request/vae/queue", 1),
    ] {
        assert_eq!(counts.get(path), Some(&n), "{path} among {counts:#?}");
    }
    let last = spans.values().rfind(|seen| seen.name == "iteration").unwrap();
    let moved = |field: &str| last.fields[field].parse::<u64>().unwrap();
    // Two branches come back for one set of rows; hidden states and embeddings are equally wide.
    assert_eq!(moved("bytes_received"), 2 * moved("bytes_sent"));
    assert!(moved("bytes_sent") > 0 && last.fields["revealed"] == "6");
}
