//! The loop over a decoder on the other side of gRPC: the same bits, a session that ends with its stream, and the loss
//! of a replica in the middle.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt;
use support::decoder::FakeDecoder;
use support::{Direct, events, images, picture, service, settings, spec};
use unipic_api::ApiError;
use unipic_engine::JobContext;
use unipic_models::generation::Settings;
use unipic_synthesis::remote::RemoteDecoder;
use unipic_synthesis::{SynthesisEvent, SynthesisSpec};

const NEVER: usize = usize::MAX;

fn remote(endpoints: &[&str]) -> RemoteDecoder {
    let endpoints: Vec<_> = endpoints.iter().map(|e| e.parse().unwrap()).collect();
    RemoteDecoder::new(&endpoints).unwrap()
}

fn edit() -> SynthesisSpec {
    let settings = Settings { n_images: 2, ..settings(4) };
    SynthesisSpec { source: Some(picture(64, 64)), ..spec("make it blue", settings) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_decoder_gives_the_same_bits_and_tells_what_was_moved() {
    let language = Direct::load(&[]).unwrap();
    let (endpoint, ended) = FakeDecoder::start(language.clone(), NEVER).await.unwrap();
    let (local, far) = (service(language).unwrap(), service(remote(&[&endpoint])).unwrap());
    for asked in [spec("a red circle", settings(7)), edit(), support::redraw(settings(5))] {
        let here = events(&local, asked.clone()).await.unwrap();
        let there = events(&far, asked).await.unwrap();
        assert!(images(&here) == images(&there));
        let Some(SynthesisEvent::Done(timings)) = there.last() else { panic!("no timings") };
        assert!(timings.traffic.sent > 0 && timings.traffic.received > timings.traffic.sent / 2);
    }
    until(|| ended.load(Ordering::SeqCst) == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_break_are_opened_again_with_the_same_result() {
    let language = Direct::load(&[]).unwrap();
    let (frail, _) = FakeDecoder::start(language.clone(), 1).await.unwrap();
    let (other, _) = FakeDecoder::start(language.clone(), 1).await.unwrap();
    let (local, far) = (service(language).unwrap(), service(remote(&[&frail, &other, "http://127.0.0.1:9"])).unwrap());
    let redraw = || support::redraw(settings(5));
    let expected = images(&events(&local, redraw()).await.unwrap());
    assert!(expected == images(&events(&far, redraw()).await.unwrap()));
    let expected = images(&events(&local, edit()).await.unwrap());
    let told = events(&far, edit()).await.unwrap();
    assert!(expected == images(&told));
    assert!(told.iter().any(|event| matches!(event, SynthesisEvent::Resumed { attempt: 2 })), "the loss is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_decoder_the_error_says_unavailable_soon() {
    let failover = unipic_client::RetryPolicy { patience_seconds: 0.5, ..Default::default() };
    let far = service(remote(&["http://127.0.0.1:9"])).unwrap().with_failover(&failover);
    let started = Instant::now();
    let error = events(&far, spec("a", settings(1))).await.unwrap_err();
    assert!(matches!(error, ApiError::Unavailable { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_stream_ends_the_session() {
    let language = Direct::load(&[]).unwrap();
    let (endpoint, ended) = FakeDecoder::start(language, NEVER).await.unwrap();
    let far = service(remote(&[&endpoint])).unwrap();
    let long = Settings { iterations: 16, ..settings(7) };
    let mut stream = far.synthesize(spec("a red circle", long), JobContext::current()).unwrap();
    for _ in 0..3 {
        stream.next().await.unwrap().unwrap();
    }
    assert_eq!(ended.load(Ordering::SeqCst), 0);
    drop(stream);
    until(|| ended.load(Ordering::SeqCst) == 1).await;
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen within 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
