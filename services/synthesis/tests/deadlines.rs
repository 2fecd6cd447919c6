//! A request that is late or not wanted any more stops within one step, whatever it is at, and gives everything back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use candle_core::Tensor;
use futures::StreamExt;
use support::{Direct, DirectSession, picture, service, settings, spec};
use tokio_util::sync::CancellationToken;
use unipic_api::ApiError;
use unipic_engine::JobContext;
use unipic_measures::measured;
use unipic_models::Handover;
use unipic_models::prompt::Prompt;
use unipic_synthesis::{LanguageModel, LanguageSession, ProbeSegment, Synthesis, SynthesisEvent, SynthesisSpec};

fn edit() -> SynthesisSpec {
    SynthesisSpec { source: Some(picture(64, 64)), ..spec("make it blue", settings(7)) }
}

/// What came of a request.
struct Ended {
    /// The error, if it ended with one.
    error: Option<ApiError>,
    has_image: bool,
    n_events: usize,
}

async fn run<L: LanguageModel>(service: &Synthesis<L>, context: JobContext) -> Ended {
    let mut stream = service.synthesize(edit(), context).unwrap();
    let mut ended = Ended { error: None, has_image: false, n_events: 0 };
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => ended.has_image |= matches!(event, SynthesisEvent::Image(_)),
            Err(error) => return Ended { error: Some(error), ..ended },
        }
        ended.n_events += 1;
    }
    ended
}

/// Nothing holds a place, and the device has dropped what nobody waits for, which it does when it next looks.
async fn until_idle<L: LanguageModel>(service: &Synthesis<L>) {
    while service.queued() > 0 {
        tokio::task::yield_now().await;
    }
}

/// The times after which a request is ended: from none at all to one that it meets.
fn longer(wait: Duration) -> Duration {
    wait + Duration::from_millis(2).max(wait / 16)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_request_is_at_its_deadline_ends_it_and_nothing_is_left() {
    let language = Direct::load(&[]).unwrap();
    let service = service(language.clone()).unwrap();
    let (mut wait, mut stages, mut n_late, mut n_held) = (Duration::ZERO, BTreeSet::new(), 0, 0);
    // From a deadline that has passed to one that is met: source, prefill, encode, probe, decode, head and picture.
    loop {
        let before = (language.opened(), language.probed());
        let context = JobContext { deadline: Some(Instant::now() + wait), ..JobContext::current() };
        let ended = run(&service, context).await;
        n_held = n_held.max(service.running());
        assert_eq!(service.running(), 0, "after {wait:?}");
        until_idle(&service).await;
        match ended.error {
            Some(ApiError::DeadlineExceeded) => {
                n_late += 1;
                stages.insert((language.opened() - before.0, language.probed() - before.1, ended.n_events));
            }
            None if ended.has_image => break,
            other => panic!("{other:?} after {wait:?}"),
        }
        wait = longer(wait);
    }
    measured!("late requests", n_late);
    measured!("places between which they were", stages.len());
    measured!("permits held afterwards", n_held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_request_is_at_when_its_caller_leaves_nothing_is_left() {
    let language = Direct::load(&[]).unwrap();
    let service = service(language.clone()).unwrap();
    let (mut wait, mut stages, mut n_left, mut n_held, mut n_behind) = (Duration::ZERO, BTreeSet::new(), 0, 0, 0);
    loop {
        let before = language.probed();
        let ended = tokio::time::timeout(wait, run(&service, JobContext::current())).await;
        if ended.is_ok_and(|ended| ended.has_image) {
            break;
        }
        let at = language.probed();
        n_left += 1;
        stages.insert(at - before);
        n_held = n_held.max(service.running());
        assert_eq!(service.running(), 0, "after {wait:?}");
        until_idle(&service).await;
        n_behind = n_behind.max(language.probed() - at);
        wait = longer(wait);
    }
    measured!("callers that left", n_left);
    measured!("iterations in which they did", stages.len());
    measured!("permits held afterwards", n_held);
    measured!("calls of the language model after one left, at most", n_behind);
    assert!(n_behind <= 1, "{n_behind} calls");
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
        let ended = run(&service, JobContext { cancel, ..JobContext::current() }).await;
        assert!(matches!(ended.error, Some(ApiError::Cancelled)), "{at}: {:?}", ended.error);
        n_behind = n_behind.max(language.probed() - at);
        assert_eq!((language.probed(), ended.has_image), (at, false));
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
        let ended = run(&service, JobContext { deadline: Some(deadline), ..JobContext::current() }).await;
        assert!(matches!(ended.error, Some(ApiError::DeadlineExceeded)), "{at}: {:?}", ended.error);
        // On a machine that is busy it may have passed before.
        n_reached += usize::from(language.opened() + language.probed() == at + 1);
        n_behind = n_behind.max(language.probed().saturating_sub(at));
        assert_eq!((n_behind, ended.has_image), (0, false));
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
    let error = run(&service, context).await.error;
    assert!(matches!(error, Some(ApiError::DeadlineExceeded)), "{error:?}");
}
