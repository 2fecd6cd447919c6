//! Who is let in, who waits and who is told to come back, as clients see it.

#![allow(clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use futures::StreamExt;
use pb::generate_response::Event;
use pb::uni_pic_server::UniPic;
use support::{Fake, Script, collect, gateway, gateway_for, generate, image, png, text, turn, with_config, within};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use unipic_api::{ApiError, Reason, pb};
use unipic_gateway::{Config, Gateway, QuotaConfig, Tenant, TenantsConfig};

fn options() -> pb::ImageOptions {
    pb::ImageOptions { iterations: Some(2), width: Some(64), height: Some(64), ..Default::default() }
}

fn hanging() -> Script {
    Script { hang: true, ..Script::default() }
}

fn of<T>(mut request: Request<T>, tenant: &str) -> Request<T> {
    request.extensions_mut().insert(Tenant::named(tenant));
    request
}

fn with_priority<T>(mut request: Request<T>, priority: &'static str) -> Request<T> {
    request.metadata_mut().insert("unipic-priority", priority.parse().expect("a value"));
    request
}

async fn limited(default: QuotaConfig) -> Gateway<Fake> {
    let tenants = TenantsConfig { default, named: Default::default() };
    with_config(hanging(), Config { tenants, ..Config::default() }).await.0
}

async fn refusal(gateway: &Gateway<Fake>, request: Request<pb::GenerateRequest>) -> Status {
    gateway.generate(request).await.err().expect("refused")
}

#[tokio::test]
async fn a_quota_is_refused_with_whose_it_is_which_and_when_to_come_back() {
    for (quota, what) in [
        (QuotaConfig { max_concurrent: Some(1), ..Default::default() }, "at the same time"),
        (QuotaConfig { requests_per_second: Some(0.01), ..Default::default() }, "requests a second"),
        (QuotaConfig { pixels_per_minute: Some(5000), ..Default::default() }, "pixels a minute"),
    ] {
        let gateway = limited(quota).await;
        let _running = gateway.generate(of(generate("a", options()), "acme")).await.expect("runs");
        let status = refusal(&gateway, of(generate("a", options()), "acme")).await;
        assert_eq!(status.code(), Code::ResourceExhausted);
        let details = status.get_error_details();
        let violation = details.quota_failure().expect("a quota").violations[0].clone();
        assert_eq!(violation.subject, "tenant:acme");
        assert!(violation.description.contains(what), "{violation:?}");
        assert_eq!(details.error_info().expect("a reason").reason, "QUOTA_EXCEEDED");
        assert!(details.retry_info().and_then(|info| info.retry_delay).expect("a time") > Duration::ZERO);
        gateway.generate(of(generate("a", options()), "other")).await.expect("another tenant is let in");
    }
}

#[tokio::test]
async fn requests_that_nobody_answers_for_are_one_tenant() {
    let gateway = limited(QuotaConfig { max_concurrent: Some(1), ..Default::default() }).await;
    let running = gateway.generate(generate("a", options())).await.expect("runs");
    let status = refusal(&gateway, generate("a", options())).await;
    let ApiError::QuotaExceeded { subject, .. } = ApiError::from_status(&status) else { panic!("{status:?}") };
    assert_eq!(subject, "tenant:default");
    drop(running);
    // Its task ends when it is next looked at.
    while gateway.load() != (0, 0) {
        tokio::task::yield_now().await;
    }
    gateway.generate(generate("a", options())).await.expect("its share is free again");
}

#[tokio::test]
async fn a_person_goes_before_the_background_and_another_priority_does_not_exist() {
    let (gateway, _) = gateway_for(hanging(), 1, 8).await;
    let _running = gateway.generate(generate("a", options())).await.expect("runs");
    let mut batch =
        gateway.generate(with_priority(generate("b", options()), "batch")).await.expect("waits").into_inner();
    let position = |event: Option<Result<pb::GenerateResponse, Status>>| match event {
        Some(Ok(pb::GenerateResponse { event: Some(Event::Queued(queued)) })) => queued.position,
        other => panic!("{other:?}"),
    };
    assert_eq!(position(batch.next().await), 0);
    let urgent = with_priority(generate("c", options()), "interactive");
    let mut urgent = gateway.generate(urgent).await.expect("waits").into_inner();
    assert_eq!(position(urgent.next().await), 0);
    assert_eq!(position(batch.next().await), 1, "it learns that it was overtaken");
    let status = refusal(&gateway, with_priority(generate("d", options()), "mine")).await;
    assert_eq!(support::fields(&status), ["unipic-priority"]);
}

#[tokio::test]
async fn a_deadline_shorter_than_the_work_is_refused_before_any_work() {
    let (gateway, script) = gateway(Script { pace_ms: 20, ..Script::default() }).await;
    let soon = || within(generate("a", options()), Duration::from_millis(30));
    let status = collect(gateway.generate(soon()).await).await.expect_err("nothing is known yet: it is tried");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    collect(gateway.generate(generate("a", options())).await).await.expect("drawn");
    let before = script.synthesized.lock().expect("lock").len();
    let status = refusal(&gateway, soon()).await;
    let ApiError::Overloaded { reason, .. } = ApiError::from_status(&status) else { panic!("{status:?}") };
    assert_eq!((status.code(), reason), (Code::ResourceExhausted, Reason::DeadlineUnmeetable));
    assert_eq!(script.synthesized.lock().expect("lock").len(), before);
    collect(gateway.generate(generate("a", options())).await).await.expect("others are let in");
}

#[tokio::test]
async fn a_full_queue_and_a_used_up_quota_refuse_before_images_are_decoded() {
    let (full, _) = gateway_for(hanging(), 1, 0).await;
    let used_up = limited(QuotaConfig { max_concurrent: Some(1), ..Default::default() }).await;
    for gateway in [full, used_up] {
        let _running = gateway.generate(generate("a", options())).await.expect("runs");
        assert_eq!(without_a_look(&gateway).await, [Code::ResourceExhausted; 3]);
    }
}

/// What becomes of requests whose file is no image, which only decoding would find.
async fn without_a_look(gateway: &Gateway<Fake>) -> [Code; 3] {
    let edit = pb::EditRequest { image: b"no image"[..].into(), instruction: "b".into(), ..Default::default() };
    let turns = vec![turn(pb::Role::User, vec![image(b"no image".to_vec()), text("b")])];
    let ask = pb::UnderstandRequest { turns, ..Default::default() };
    let embed = pb::EmbedRequest { image: b"no image"[..].into(), ..Default::default() };
    [
        gateway.edit(Request::new(edit)).await.err().expect("refused").code(),
        gateway.understand(Request::new(ask)).await.err().expect("refused").code(),
        gateway.embed(Request::new(embed)).await.err().expect("refused").code(),
    ]
}

#[tokio::test]
async fn whatever_a_request_waits_for_its_deadline_ends_it_and_frees_its_place() {
    let question = || {
        let turns = vec![turn(pb::Role::User, vec![image(png(9, 9)), text("What?")])];
        within(Request::new(pb::UnderstandRequest { turns, ..Default::default() }), Duration::from_millis(60))
    };
    let embed = || {
        within(
            Request::new(pb::EmbedRequest { image: png(9, 9).into(), ..Default::default() }),
            Duration::from_millis(60),
        )
    };
    // While its image is encoded, and while the answer is spoken.
    for script in [Script { hang_encoding: true, ..Script::default() }, hanging()] {
        let (gateway, script) = gateway(script).await;
        let status = collect(gateway.understand(question()).await).await.expect_err("late");
        assert_eq!(status.code(), Code::DeadlineExceeded);
        if script.hang_encoding {
            let status = collect(gateway.embed(embed()).await).await.expect_err("late");
            assert_eq!(status.code(), Code::DeadlineExceeded);
        }
        assert_eq!(gateway.load(), (0, 0));
        assert_eq!(script.alive.load(std::sync::atomic::Ordering::SeqCst), 0, "no backend works on for it");
    }
    // While it waits for its turn.
    let (gateway, _) = gateway_for(hanging(), 1, 4).await;
    let _running = gateway.generate(generate("a", options())).await.expect("runs");
    let status = collect(gateway.understand(question()).await).await.expect_err("late");
    assert_eq!((status.code(), gateway.load()), (Code::DeadlineExceeded, (1, 0)));
}
