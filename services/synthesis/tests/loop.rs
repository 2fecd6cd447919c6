//! The generation loop on the small model: what it tells, that it stops, and that company changes nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use candle_core::Tensor;
use futures::StreamExt;
use support::{Direct, DirectSession, events, images, picture, service, settings, spec};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use unipic_api::{ApiError, Reason};
use unipic_engine::JobContext;
use unipic_measures::measured;
use unipic_models::Handover;
use unipic_models::generation::Settings;
use unipic_models::mar::ImageGrid;
use unipic_models::prompt::Prompt;
use unipic_synthesis::{LanguageModel, LanguageSession, ProbeSegment, SynthesisEvent, SynthesisSpec};

fn n_images(n_images: usize) -> Settings {
    Settings { n_images, ..settings(7) }
}

#[tokio::test]
async fn an_image_is_the_same_alone_among_n_and_twice() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let once = images(&events(&service, spec("a red circle", n_images(1))).await.unwrap());
    let twice = images(&events(&service, spec("a red circle", n_images(1))).await.unwrap());
    let three = images(&events(&service, spec("a red circle", n_images(3))).await.unwrap());
    let rest = Settings { first_image: 1, ..n_images(2) };
    let rest = images(&events(&service, spec("a red circle", rest)).await.unwrap());
    assert_eq!(once, twice);
    assert_eq!(once[..], three[..1]);
    assert_eq!(rest[..], three[1..], "images 1 and 2 made later");
    assert_ne!(three[0].1, three[1].1);
    assert_eq!(once[0].1.len(), 64 * 64 * 3);
}

#[tokio::test]
async fn another_seed_prompt_or_negative_prompt_is_another_image() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let base = spec("a red circle", settings(7));
    let others = [
        spec("a red circle", settings(8)),
        spec("a blue square", settings(7)),
        SynthesisSpec { negative_prompt: Some("blurry".into()), ..base.clone() },
    ];
    let first = images(&events(&service, base).await.unwrap());
    for other in others {
        assert_ne!(first, images(&events(&service, other).await.unwrap()));
    }
}

/// Requests of different kinds, sizes, lengths and guidance.
fn mixed() -> Vec<SynthesisSpec> {
    let wide = Settings { grid: ImageGrid { rows: 3, cols: 5 }, head_steps: 7, ..settings(1) };
    let unguided = Settings { guidance_scale: 1.0, iterations: 6, ..settings(2) };
    let edit = SynthesisSpec { source: Some(picture(64, 64)), ..spec("make it blue", n_images(2)) };
    vec![spec("two stars", wide), spec("a cat", unguided), edit, support::redraw(n_images(2))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_the_same_time_equal_requests_one_by_one_bit_for_bit() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let mut one_by_one = Vec::new();
    for spec in mixed() {
        one_by_one.push(images(&events(&service, spec).await.unwrap()));
    }
    let together = futures::future::join_all(mixed().into_iter().map(|spec| events(&service, spec))).await;
    for (alone, among) in one_by_one.iter().zip(together) {
        assert!(alone == &images(&among.unwrap()));
    }
}

#[tokio::test]
async fn progress_grows_from_nothing_to_everything_and_previews_come_in_between() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let asked = SynthesisSpec { preview_every: 2, ..spec("a red circle", n_images(2)) };
    let events = events(&service, asked).await.unwrap();
    let progress: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            SynthesisEvent::Progress(p) => Some((p.iteration, p.known_tokens)),
            _ => None,
        })
        .collect();
    // 16 places: 14, 11, 6 and 0 stay masked; two images.
    assert_eq!(progress, [(0, 0), (1, 4), (2, 10), (3, 20), (4, 32)]);
    let kinds: String = events
        .iter()
        .map(|e| match e {
            SynthesisEvent::Progress(_) => 'p',
            SynthesisEvent::Preview(_) => 'v',
            SynthesisEvent::Image(_) => 'i',
            SynthesisEvent::Resumed { .. } => 'r',
            SynthesisEvent::Done(_) => 'd',
        })
        .collect();
    assert_eq!(kinds, "pppvvppiid");
    let Some(SynthesisEvent::Done(timings)) = events.last() else { panic!("no timings") };
    assert!(timings.total >= timings.head + timings.mar + timings.vae && timings.head > Duration::ZERO);
}

#[tokio::test]
async fn a_redrawn_part_begins_with_the_rest_known_and_previews_show_it() {
    let language = Direct::load(&[]).unwrap();
    let service = service(language.clone()).unwrap();
    let asked = SynthesisSpec { preview_every: 1, ..support::redraw(n_images(2)) };
    let events = events(&service, asked).await.unwrap();
    let progress: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            SynthesisEvent::Progress(p) => Some((p.iteration, p.known_tokens, p.total_tokens)),
            _ => None,
        })
        .collect();
    // 6 of 16 places: 5, 4, 2 and 0 stay masked; two images.
    assert_eq!(progress, [(0, 20, 32), (1, 22, 32), (2, 24, 32), (3, 28, 32), (4, 32, 32)]);
    assert_eq!(language.probed(), 4);
    let previews = events.iter().filter(|e| matches!(e, SynthesisEvent::Preview(_))).count();
    assert_eq!(previews, 6);
}

#[tokio::test]
async fn a_redrawn_part_replays_by_its_seed_alone_and_among_n() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let both = images(&events(&service, support::redraw(n_images(2))).await.unwrap());
    let again = images(&events(&service, support::redraw(n_images(1))).await.unwrap());
    assert_eq!(both[..1], again[..]);
    assert_ne!(both[0].1, both[1].1);
    let whole = SynthesisSpec { redrawn: Vec::new(), ..support::redraw(n_images(1)) };
    assert_ne!(again, images(&events(&service, whole).await.unwrap()), "keeping a part changes the picture");
}

#[tokio::test]
async fn iterations_that_reveal_nothing_are_neither_run_nor_told() {
    let language = Direct::load(&[]).unwrap();
    let service = service(language.clone()).unwrap();
    let tiny = Settings { grid: ImageGrid { rows: 1, cols: 2 }, iterations: 9, ..settings(3) };
    let events = events(&service, spec("a dot", tiny)).await.unwrap();
    let told = events.iter().filter(|e| matches!(e, SynthesisEvent::Progress(_))).count();
    assert_eq!((language.probed(), told), (2, 3));
}

#[tokio::test]
async fn without_guidance_one_prompt_is_opened_and_the_result_differs() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let unguided = Settings { guidance_scale: 1.0, ..settings(7) };
    let without = images(&events(&service, spec("a red circle", unguided)).await.unwrap());
    let with = images(&events(&service, spec("a red circle", settings(7))).await.unwrap());
    assert_ne!(without, with);
}

#[tokio::test]
async fn a_lost_language_model_costs_a_delay_and_changes_nothing() {
    let whole = service(Direct::load(&[]).unwrap()).unwrap();
    let language = Direct::load(&[1, 2, 4]).unwrap();
    let failing = service(language.clone()).unwrap();
    let expected = images(&events(&whole, spec("a red circle", settings(7))).await.unwrap());
    let got = images(&events(&failing, spec("a red circle", settings(7))).await.unwrap());
    assert!(expected == got);
    // Four iterations and three lost probes; a session for the start and one after each loss.
    assert_eq!((language.probed(), language.opened()), (7, 4));
}

#[tokio::test]
async fn a_redrawn_part_survives_a_lost_language_model_too() {
    let whole = service(Direct::load(&[]).unwrap()).unwrap();
    let language = Direct::load(&[0, 2, 3]).unwrap();
    let failing = service(language.clone()).unwrap();
    let expected = images(&events(&whole, support::redraw(n_images(2))).await.unwrap());
    assert!(expected == images(&events(&failing, support::redraw(n_images(2))).await.unwrap()));
    assert_eq!((language.probed(), language.opened()), (7, 4));
}

#[tokio::test]
async fn a_language_model_that_stays_away_is_the_requests_error() {
    let always: Vec<usize> = (0..100).collect();
    let service = service(Direct::load(&always).unwrap()).unwrap();
    let deadline = Instant::now() + Duration::from_millis(300);
    let context = JobContext { deadline: Some(deadline), ..JobContext::current() };
    let mut stream = service.synthesize(spec("a red circle", settings(7)), context).unwrap();
    let mut last = stream.next().await;
    while let Some(Ok(_)) = last {
        last = stream.next().await;
    }
    assert!(matches!(last, Some(Err(ApiError::DeadlineExceeded))), "{last:?}");
    assert!(Instant::now() >= deadline);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_cancelled_request_ends_and_gives_its_place_back() {
    let language = Direct::load(&[]).unwrap();
    let service = service(language.clone()).unwrap();
    let cancel = CancellationToken::new();
    let context = JobContext { span: Span::none(), cancel: cancel.clone(), ..JobContext::current() };
    let long = Settings { iterations: 16, ..settings(7) };
    let mut stream = service.synthesize(spec("a red circle", long), context).unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    assert!(stream.next().await.unwrap().is_ok());
    cancel.cancel();
    let last = stream.next().await;
    assert!(matches!(last, Some(Err(ApiError::Cancelled))), "{last:?}");
    assert!(stream.next().await.is_none());
    assert!(language.probed() <= 3, "{} probes", language.probed());
    drop(stream);
    let parallel = (0..4).map(|_| events(&service, spec("a", settings(1))));
    assert!(futures::future::join_all(parallel).await.iter().all(Result::is_ok), "its place is free");
}

#[tokio::test]
async fn a_dropped_stream_stops_the_work() {
    let language = Direct::load(&[]).unwrap();
    let service = service(language.clone()).unwrap();
    let long = Settings { iterations: 16, ..settings(7) };
    let mut stream = service.synthesize(spec("a red circle", long), JobContext::current()).unwrap();
    for _ in 0..3 {
        stream.next().await.unwrap().unwrap();
    }
    drop(stream);
    let probed = language.probed();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(language.probed(), probed);
}

#[tokio::test]
async fn more_requests_than_places_are_refused_at_once() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let start = || service.synthesize(spec("a", settings(1)), JobContext::current());
    let mut running: Vec<_> = (0..4).map(|_| start().unwrap()).collect();
    assert!(matches!(start().err(), Some(ApiError::Overloaded { .. })));
    running.pop();
    assert!(start().is_ok());
}

#[tokio::test]
async fn everything_wrong_is_told_at_once_by_field() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let wrong = Settings {
        grid: ImageGrid { rows: 0, cols: 100 },
        iterations: 0,
        head_steps: 1001,
        guidance_scale: f64::NAN,
        temperature: -1.0,
        n_images: 5,
        first_image: u32::MAX,
        ..settings(0)
    };
    let mut asked = spec("", wrong);
    asked.source = Some(picture(64, 48));
    let Some(ApiError::Invalid(violations)) = service.synthesize(asked, JobContext::current()).err() else {
        panic!("it was accepted")
    };
    let fields: Vec<&str> = violations.iter().map(|v| v.field.trim_start_matches("parameters.")).collect();
    let expected = [
        "prompt",
        "grid_rows",
        "n_images",
        "first_image",
        "iterations",
        "head_steps",
        "guidance_scale",
        "temperature",
        "source",
    ];
    assert_eq!(fields, expected);
}

#[tokio::test]
async fn places_that_cannot_be_redrawn_are_refused_by_field() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let redraw = |redrawn: &[u32]| SynthesisSpec { redrawn: redrawn.to_vec(), ..support::redraw(settings(0)) };
    for asked in [redraw(&[16]), redraw(&[3, 3]), redraw(&[4, 2])] {
        let Some(ApiError::Invalid(found)) = service.synthesize(asked, JobContext::current()).err() else {
            panic!("it was accepted")
        };
        assert_eq!(found.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["parameters.redrawn_places"]);
    }
    let asked = SynthesisSpec { source: None, ..redraw(&[1]) };
    let error = events(&service, asked).await.unwrap_err();
    assert!(matches!(&error, ApiError::Invalid(found) if found[0].field == "parameters.redrawn_places"), "{error:?}");
}

#[tokio::test]
async fn an_image_is_encoded_for_the_language_model() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let context = JobContext::current();
    let embeddings = service.encode_mar(picture(64, 48), Handover::Host, &context).await.unwrap();
    let info = service.info().clone();
    assert_eq!(embeddings.dims(), [4 * 3 + info.n_buffers, info.llm_width]);
    for wrong in [picture(60, 48), picture(0, 0), picture(16 * 65, 16)] {
        let error = service.encode_mar(wrong, Handover::Host, &context).await.unwrap_err();
        assert!(matches!(error, ApiError::Invalid(_)), "{error:?}");
    }
}

/// A language model that answers nothing but NaN to prompts of two branches.
#[derive(Clone)]
struct Poisoned(Direct);

struct PoisonedSession(DirectSession, bool);

impl LanguageModel for Poisoned {
    type Session = PoisonedSession;

    fn handover(&self) -> Handover {
        Handover::Device
    }

    async fn open(&self, prompts: Vec<Prompt>, context: &JobContext) -> Result<PoisonedSession, ApiError> {
        let is_poisoned = prompts.len() == 2;
        Ok(PoisonedSession(self.0.open(prompts, context).await?, is_poisoned))
    }
}

impl LanguageSession for PoisonedSession {
    async fn probe(
        &mut self,
        rows: Tensor,
        segments: Vec<ProbeSegment>,
        context: &JobContext,
    ) -> Result<Tensor, ApiError> {
        let hidden = self.0.probe(rows, segments, context).await?;
        if self.1 { (hidden * f64::NAN).map_err(|_| ApiError::Fault(Reason::Bug)) } else { Ok(hidden) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_not_finite_fail_their_own_request_and_make_no_image() {
    let language = Direct::load(&[]).unwrap();
    let (healthy, poisoned) = (service(language.clone()).unwrap(), service(Poisoned(language)).unwrap());
    let unguided = || spec("a cat", Settings { guidance_scale: 1.0, ..settings(2) });
    let expected = images(&events(&healthy, unguided()).await.unwrap());
    let asked = spec("a cat", settings(2));
    let (failed, fine) = tokio::join!(events(&poisoned, asked), events(&poisoned, unguided()));
    let n_pictures = failed.as_ref().map_or(0, |events| images(events).len());
    assert!(matches!(failed.unwrap_err(), ApiError::Fault(Reason::NonFinite)));
    let others = images(&fine.unwrap());
    assert!(expected == others);
    measured!("pictures made of it", n_pictures);
    measured!("pictures beside it, with the bytes they have alone", others.len());
}

#[tokio::test]
async fn warming_up_runs_every_kind_of_job() {
    let language = Direct::load(&[]).unwrap();
    service(language.clone()).unwrap().warm_up().await.unwrap();
    assert_eq!(language.opened(), 0, "it needs no language model");
}
