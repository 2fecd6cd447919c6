//! What an operator sees: sessions and answers that are open, and few spans for many tokens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, info_span};
use unipic_decoder::AnswerSpec;
use unipic_engine::JobContext;
use unipic_models::prompt::{generate, generate_unconditional, understand};
use unipic_telemetry::{Metrics, TelemetryConfig};

use crate::{rows, start};

fn spec(max_tokens: usize) -> AnswerSpec {
    let prompt = understand(&rows(8, 1), "What is this?");
    AnswerSpec { prompt, max_tokens, temperature: 0.0, top_p: 1.0, seed: 0, stop: Vec::new(), candidates: Vec::new() }
}

fn value(metrics: &Metrics, name: &str) -> f64 {
    let text = metrics.render();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn sessions_and_answers_are_counted_while_they_live() {
    let metrics = Metrics::new(&TelemetryConfig::for_service("test")).unwrap();
    let decoder = start().counted(&metrics);
    let open = || (value(&metrics, "unipic_decoder_sessions_open"), value(&metrics, "unipic_decoder_answers_open"));
    let held = |kind: &str| value(&metrics, &format!("unipic_device_memory_bytes{{device=\"cpu\",kind=\"{kind}\"}}"));
    let cached = || held("sessions");
    assert_eq!(held("weights"), decoder.info().weight_bytes as f64);
    assert_eq!((open(), cached()), ((0.0, 0.0), 0.0));
    let context = JobContext::current();
    let one = decoder.open(vec![generate("a red circle")], &context).await.unwrap();
    let of_one = cached();
    assert!(of_one > 0.0);
    // The same prompt twice shares all it has, so it takes no more than once.
    let twin = vec![generate("a red circle"), generate("a red circle")];
    let two = decoder.open(twin, &context).await.unwrap();
    assert_eq!(cached(), 2.0 * of_one);
    let guided = vec![generate("a red circle"), generate_unconditional(None)];
    let three = decoder.open(guided, &context).await.unwrap();
    assert!(cached() > 3.0 * of_one, "another prompt takes room of its own");
    assert_eq!(open(), (3.0, 0.0));
    drop((one, two, three));
    assert_eq!((open(), cached()), ((0.0, 0.0), 0.0));
    decoder.open(Vec::new(), &context).await.err().expect("no prompts");

    let mut answer = Box::pin(decoder.answer(spec(4), context).await.unwrap());
    answer.next().await.unwrap().unwrap();
    assert_eq!(open(), (0.0, 1.0));
    assert!(held("answers") > 0.0, "an answer's keys and values are held too");
    drop(answer);
    assert_eq!((open(), held("answers")), ((0.0, 0.0), 0.0));
    assert!(held("prefixes") > 0.0, "what was computed is kept for later prompts");
    drop(decoder);
    assert_eq!(held("weights"), 0.0);
}

/// Counts spans by name.
#[derive(Clone, Default)]
struct Counter {
    next: Arc<AtomicU64>,
    names: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Subscriber for Counter {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        *self.names.lock().unwrap().entry(span.metadata().name()).or_default() += 1;
        Id::from_u64(self.next.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn an_answer_s_spans_do_not_grow_with_its_tokens() {
    let decoder = start();
    let counter = Counter::default();
    let _guard = tracing::subscriber::set_default(counter.clone());
    // A span that another test's thread registers while the subscriber is set can stay off for good: all are met once before.
    decoder.answer(spec(2), JobContext::current()).await.unwrap().count().await;
    tracing::callsite::rebuild_interest_cache();
    let mut seen = Vec::new();
    for max_tokens in [2, 12] {
        counter.names.lock().unwrap().clear();
        let context = JobContext::current().with_span(info_span!("request"));
        let answer = decoder.answer(spec(max_tokens), context).await.unwrap();
        let n = answer.map(Result::unwrap).count().await;
        assert!(n >= 2);
        seen.push(counter.names.lock().unwrap().clone());
    }
    let expected = BTreeMap::from([("batch", 1), ("decode", 1), ("prefill", 1), ("queue", 1), ("request", 1)]);
    assert_eq!(seen, [expected.clone(), expected]);
}
