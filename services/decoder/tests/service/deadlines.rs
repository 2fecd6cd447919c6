//! An answer that is late or not wanted any more stops within one step, whatever it is at.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use unipic_api::ApiError;
use unipic_decoder::{AnswerEvent, AnswerSpec, DEFAULT_PREFIX_BYTES, Decoder, Parts};
use unipic_engine::{BatchReport, Engine, EngineConfig, JobContext, Observer};
use unipic_measures::measured;
use unipic_models::load::LoadOptions;
use unipic_models::prompt::understand;
use unipic_test_support::tiny_a;
use unipic_weights::Checkpoint;

use crate::rows;

/// Counts the batches that the device has run.
#[derive(Default)]
struct Batches(AtomicUsize);

impl Observer for Batches {
    fn batch_ran(&self, _: &BatchReport<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Batches {
    fn ran(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn start() -> (Decoder, Arc<Batches>) {
    let (config, batches) =
        (EngineConfig { name: "test".into(), queue_capacity: 64, max_batch_tokens: 2048 }, Arc::default());
    let engine = Engine::spawn_observed(config, Arc::clone(&batches) as Arc<dyn Observer>).unwrap();
    let parts = Parts::load(&Checkpoint::open(&tiny_a()).unwrap(), &LoadOptions::cpu()).unwrap();
    (Decoder::keeping(&engine, parts, DEFAULT_PREFIX_BYTES), batches)
}

/// A question whose prompt takes several passes, and an answer of many more.
fn question() -> AnswerSpec {
    let prompt = understand(&rows(600, 1), "What is it?");
    AnswerSpec {
        prompt,
        max_tokens: 80,
        temperature: 0.0,
        top_p: 1.0,
        seed: 0,
        stop: Vec::new(),
        candidates: Vec::new(),
    }
}

/// How many batches the device runs for an answer that was ended: it drops what nobody waits for when it next looks.
async fn behind(decoder: &Decoder, batches: &Batches) -> usize {
    let at = batches.ran();
    while decoder.queued() > 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    batches.ran() - at
}

/// The times after which an answer is ended: from none at all to one that it meets.
fn longer(wait: Duration) -> Duration {
    wait + Duration::from_millis(2).max(wait / 16)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_answer_is_at_its_deadline_ends_it_and_nothing_waits_on() {
    let (decoder, batches) = start();
    let (mut wait, mut before_words, mut amid_words, mut n_behind) = (Duration::ZERO, 0, 0, 0);
    // From a deadline that has passed to one that is met: prefill in several pieces, then token by token.
    loop {
        let context = JobContext { deadline: Some(Instant::now() + wait), ..JobContext::current() };
        let mut events = decoder.answer(question(), context).await.unwrap().collect::<Vec<_>>().await;
        n_behind = n_behind.max(behind(&decoder, &batches).await);
        match events.pop() {
            Some(Err(ApiError::DeadlineExceeded)) if events.is_empty() => before_words += 1,
            Some(Err(ApiError::DeadlineExceeded)) => amid_words += 1,
            Some(Ok(AnswerEvent::Done(_))) => break,
            other => panic!("{other:?} after {wait:?}"),
        }
        wait = longer(wait);
    }
    measured!("answers late before their first word", before_words);
    measured!("answers late amid their words", amid_words);
    measured!("steps computed behind one, at most", n_behind);
    assert!(n_behind <= 1, "{n_behind} steps were computed for nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_answer_is_at_when_its_caller_leaves_nothing_waits_on() {
    let (decoder, batches) = start();
    let (mut wait, mut n_left, mut n_behind) = (Duration::ZERO, 0, 0);
    loop {
        let context = JobContext::current();
        let answer = async { decoder.answer(question(), context).await.unwrap().collect::<Vec<_>>().await };
        if tokio::time::timeout(wait, answer).await.is_ok() {
            break;
        }
        n_left += 1;
        n_behind = n_behind.max(behind(&decoder, &batches).await);
        wait = longer(wait);
    }
    measured!("callers that left", n_left);
    measured!("steps computed behind one, at most", n_behind);
    assert!(n_behind <= 1, "{n_behind} steps were computed for nobody");
}
