//! A request that is late or not wanted any more stops within one step, whatever it is at, and gives everything back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use candle_core::Tensor;
use futures::StreamExt;
use support::{Direct, DirectSession, picture, service, settings, spec};
use tokio_util::sync::CancellationToken;
use unipic_api::ApiError;
use unipic_engine::JobContext;
use unipic_models::Handover;
use unipic_models::prompt::Prompt;
use unipic_synthesis::{LanguageModel, LanguageSession, ProbeSegment, Synthesis, SynthesisEvent, SynthesisSpec};

fn edit() -> SynthesisSpec {
    SynthesisSpec { source: Some(picture(64, 64)), ..spec("make it blue", settings(7)) }
}

/// Runs to the end; returns the error, if it ends with one, and whether an image was made.
async fn run<L: LanguageModel>(service: &Synthesis<L>, context: JobContext) -> (Option<ApiError>, bool) {
    let mut stream = service.synthesize(edit(), context).unwrap();
    let mut has_image = false;
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => has_image |= matches!(event, SynthesisEvent::Image(_)),
            Err(error) => return (Some(error), has_image),
        }
    }
    (None, has_image)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_request_is_at_its_deadline_ends_it_and_nothing_is_left() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let mut wait = Duration::ZERO;
    // From a deadline that has passed to one that is met: source, prefill, encode, probe, decode, head and picture.
    loop {
        let context = JobContext { deadline: Some(Instant::now() + wait), ..JobContext::current() };
        let (error, has_image) = run(&service, context).await;
        assert_eq!(service.running(), 0, "after {wait:?}");
        // The device's thread drops what nobody waits for when it next looks.
        while service.queued() > 0 {
            tokio::task::yield_now().await;
        }
        match error {
            Some(ApiError::DeadlineExceeded) => {}
            None if has_image => break,
            other => panic!("{other:?} after {wait:?}"),
        }
        wait += Duration::from_millis(2).max(wait / 16);
    }
}

/// A language model that has its request cancelled at a certain call: 0 is the opening, 1 the first probe.
#[derive(Clone)]
struct Cancelling {
    language: Direct,
    cancel: CancellationToken,
    at: usize,
}

struct CancellingSession(DirectSession, Cancelling);

impl LanguageModel for Cancelling {
    type Session = CancellingSession;

    fn handover(&self) -> Handover {
        Handover::Device
    }

    async fn open(&self, prompts: Vec<Prompt>, context: &JobContext) -> Result<CancellingSession, ApiError> {
        if self.at == 0 {
            self.cancel.cancel();
        }
        Ok(CancellingSession(self.language.open(prompts, context).await?, self.clone()))
    }
}

impl LanguageSession for CancellingSession {
    async fn probe(
        &mut self,
        rows: Tensor,
        segments: Vec<ProbeSegment>,
        context: &JobContext,
    ) -> Result<Tensor, ApiError> {
        let hidden = self.0.probe(rows, segments, context).await?;
        if self.1.language.probed() == self.1.at {
            self.1.cancel.cancel();
        }
        Ok(hidden)
    }
}

#[tokio::test]
async fn nothing_is_computed_behind_the_call_in_which_a_request_is_cancelled() {
    for at in 0..=settings(7).iterations {
        let (language, cancel) = (Direct::load(&[]).unwrap(), CancellationToken::new());
        let cancelling = Cancelling { language: language.clone(), cancel: cancel.clone(), at };
        let service = service(cancelling).unwrap();
        let (error, has_image) = run(&service, JobContext { cancel, ..JobContext::current() }).await;
        assert!(matches!(error, Some(ApiError::Cancelled)), "{at}: {error:?}");
        assert_eq!((language.probed(), has_image), (at, false));
        assert_eq!((service.running(), service.queued()), (0, 0), "it was refused before it was queued");
    }
}

#[tokio::test]
async fn a_request_that_is_late_and_cancelled_for_it_was_late() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let context = JobContext { deadline: Some(Instant::now()), cancel, ..JobContext::current() };
    let (error, _) = run(&service, context).await;
    assert!(matches!(error, Some(ApiError::DeadlineExceeded)), "{error:?}");
}
