//! A request that is late or not wanted any more stops within one step, whatever it is at, and gives everything back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use candle_core::Tensor;
use futures::StreamExt;
use support::{Direct, DirectSession, picture, service, service_observed, settings, spec};
use tokio_util::sync::CancellationToken;
use unipic_api::ApiError;
use unipic_engine::{BatchReport, JobContext, Observer};
use unipic_measures::measured;
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

/// Counts the batches that the device has run.
#[derive(Default)]
struct Batches(AtomicUsize);

impl Observer for Batches {
    fn batch_ran(&self, _: &BatchReport<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A service whose requests are ended at one time after the other.
struct Watched {
    language: Direct,
    service: Synthesis<Direct>,
    batches: Arc<Batches>,
    /// Batches and calls of the language model that had been done, of each request that was ended.
    stages: BTreeSet<(usize, usize)>,
    n_ended: usize,
    /// The most permits that were held after one.
    n_held: usize,
    /// The most batches and calls that were done after one.
    n_behind: usize,
}

impl Watched {
    fn start() -> Self {
        let (language, batches) = (Direct::load(&[]).unwrap(), Arc::new(Batches::default()));
        let service =
            service_observed(&unipic_test_support::tiny_a(), language.clone(), batches.clone() as Arc<dyn Observer>);
        let (service, stages) = (service.unwrap(), BTreeSet::new());
        Self { language, service, batches, stages, n_ended: 0, n_held: 0, n_behind: 0 }
    }

    /// Batches and calls so far.
    fn done(&self) -> (usize, usize) {
        (self.batches.0.load(Ordering::SeqCst), self.language.opened() + self.language.probed())
    }

    /// Looks around after a request that had begun at `before` was ended.
    async fn ended(&mut self, before: (usize, usize)) {
        let at = self.done();
        self.n_ended += 1;
        self.stages.insert((at.0 - before.0, at.1 - before.1));
        self.n_held = self.n_held.max(self.service.running());
        // The device's thread drops what nobody waits for when it next looks, and ends what it is at.
        while self.service.queued() > 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        let after = self.done();
        self.n_behind = self.n_behind.max(after.0 - at.0 + after.1 - at.1);
    }

    /// States what was seen, and holds it.
    fn check(&self) -> (usize, usize, usize, usize) {
        assert_eq!(self.n_held, 0, "permits were held");
        assert!(self.n_behind <= 1, "{} steps were computed for nobody", self.n_behind);
        (self.n_ended, self.stages.len(), self.n_held, self.n_behind)
    }
}

/// The times after which a request is ended: from none at all to one that it meets.
fn longer(wait: Duration) -> Duration {
    wait + Duration::from_millis(2).max(wait / 16)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_request_is_at_its_deadline_ends_it_and_nothing_is_left() {
    let (mut watched, mut wait) = (Watched::start(), Duration::ZERO);
    // From a deadline that has passed to one that is met: source, prefill, encode, probe, decode, head and picture.
    loop {
        let before = watched.done();
        let context = JobContext { deadline: Some(Instant::now() + wait), ..JobContext::current() };
        match run(&watched.service, context).await {
            (Some(ApiError::DeadlineExceeded), _) => watched.ended(before).await,
            (None, true) => break,
            other => panic!("{other:?} after {wait:?}"),
        }
        wait = longer(wait);
    }
    let (n_late, n_stages, n_held, n_behind) = watched.check();
    measured!("late requests", n_late);
    measured!("steps between which they were", n_stages);
    measured!("permits held afterwards", n_held);
    measured!("steps computed behind one, at most", n_behind);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_request_is_at_when_its_caller_leaves_nothing_is_left() {
    let (mut watched, mut wait) = (Watched::start(), Duration::ZERO);
    loop {
        let before = watched.done();
        let ended = tokio::time::timeout(wait, run(&watched.service, JobContext::current())).await;
        if ended.is_ok_and(|(_, has_image)| has_image) {
            break;
        }
        watched.ended(before).await;
        wait = longer(wait);
    }
    let (n_left, n_stages, n_held, n_behind) = watched.check();
    measured!("callers that left", n_left);
    measured!("steps between which they were", n_stages);
    measured!("permits held afterwards", n_held);
    measured!("steps computed behind one, at most", n_behind);
}

/// A language model that ends its request at a certain call: 0 is the opening, 1 the first probe.
#[derive(Clone)]
struct Ending {
    language: Direct,
    how: End,
    at: usize,
}

#[derive(Clone)]
enum End {
    Cancelled(CancellationToken),
    /// The call takes until then.
    Late(Instant),
}

impl Ending {
    async fn called(&self, number: usize) {
        match &self.how {
            _ if number != self.at => {}
            End::Cancelled(cancel) => cancel.cancel(),
            End::Late(deadline) => tokio::time::sleep_until((*deadline).into()).await,
        }
    }
}

struct EndingSession(DirectSession, Ending);

impl LanguageModel for Ending {
    type Session = EndingSession;

    fn handover(&self) -> Handover {
        Handover::Device
    }

    async fn open(&self, prompts: Vec<Prompt>, context: &JobContext) -> Result<EndingSession, ApiError> {
        self.called(0).await;
        Ok(EndingSession(self.language.open(prompts, context).await?, self.clone()))
    }
}

impl LanguageSession for EndingSession {
    async fn probe(
        &mut self,
        rows: Tensor,
        segments: Vec<ProbeSegment>,
        context: &JobContext,
    ) -> Result<Tensor, ApiError> {
        let hidden = self.0.probe(rows, segments, context).await?;
        self.1.called(self.1.language.probed()).await;
        Ok(hidden)
    }
}

#[tokio::test]
async fn nothing_is_computed_behind_the_call_in_which_a_request_is_cancelled() {
    let mut n_behind = 0;
    let calls = 0..=settings(7).iterations;
    for at in calls.clone() {
        let (language, cancel) = (Direct::load(&[]).unwrap(), CancellationToken::new());
        let ending = Ending { language: language.clone(), how: End::Cancelled(cancel.clone()), at };
        let service = service(ending).unwrap();
        let (error, has_image) = run(&service, JobContext { cancel, ..JobContext::current() }).await;
        assert!(matches!(error, Some(ApiError::Cancelled)), "{at}: {error:?}");
        n_behind = n_behind.max(language.probed() - at);
        assert_eq!((language.probed(), has_image), (at, false));
        assert_eq!((service.running(), service.queued()), (0, 0), "it was refused before it was queued");
    }
    measured!("calls in which a request was cancelled", calls.count());
    measured!("iterations behind one, at most", n_behind);
}

#[tokio::test]
async fn nothing_is_computed_behind_the_call_in_which_a_deadline_passes() {
    let (mut n_reached, mut n_behind) = (0, 0);
    for at in 0..=settings(7).iterations {
        let (language, deadline) = (Direct::load(&[]).unwrap(), Instant::now() + Duration::from_millis(400));
        let ending = Ending { language: language.clone(), how: End::Late(deadline), at };
        let service = service(ending).unwrap();
        let (error, has_image) = run(&service, JobContext { deadline: Some(deadline), ..JobContext::current() }).await;
        assert!(matches!(error, Some(ApiError::DeadlineExceeded)), "{at}: {error:?}");
        // On a machine that is busy it may have passed before.
        n_reached += usize::from(language.opened() + language.probed() == at + 1);
        n_behind = n_behind.max(language.probed().saturating_sub(at));
        assert_eq!((n_behind, has_image), (0, false));
        assert_eq!((service.running(), service.queued()), (0, 0));
    }
    measured!("calls in which a deadline passed", n_reached);
    measured!("iterations behind one, at most", n_behind);
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
