//! What the gateway counts: waiting and running, images, answers, and work that was tried again.

#![allow(clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use pb::uni_pic_server::UniPic;
use support::{Fake, Script, collect, counted, generate, text, turn, within};
use tonic::{Code, Request};
use unipic_api::pb;
use unipic_client::RetryPolicy;
use unipic_gateway::{AdmissionConfig, Config, Gateway};
use unipic_telemetry::{Metrics, TelemetryConfig};

/// A gateway that counts, with so many places and waiting places.
async fn gateway(script: Script, max_running: usize, max_queued: usize) -> (Gateway<Fake>, Arc<Script>, Metrics) {
    let metrics = Metrics::new(&TelemetryConfig::for_service("test")).expect("no exporter to fail");
    let admission = AdmissionConfig { max_running, max_queued, ..AdmissionConfig::default() };
    // Little patience, so that what is lost for good is given up soon.
    let failover = RetryPolicy { patience_seconds: 0.3, ..RetryPolicy::default() };
    let config = Config { admission, failover, ..Config::default() };
    let (gateway, script) = counted(script, config, &metrics).await;
    (gateway, script, metrics)
}

fn options() -> pb::ImageOptions {
    pb::ImageOptions { iterations: Some(2), n: Some(2), ..Default::default() }
}

#[track_caller]
fn assert_tells(metrics: &Metrics, lines: &[&str]) {
    let text = metrics.render();
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line:?} is not in\n{text}");
    }
}

async fn until_told(metrics: &Metrics, line: &str) {
    let told = async {
        while !metrics.render().lines().any(|found| found == line) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .unwrap_or_else(|_| panic!("{line}\n{}", metrics.render()));
}

#[tokio::test]
async fn everything_is_shown_before_anything_happened() {
    let (_gateway, _, metrics) = gateway(Script::default(), 1, 1).await;
    assert_tells(
        &metrics,
        &[
            "unipic_admission_queued 0",
            "unipic_admission_running 0",
            "unipic_retries_total{backend=\"synthesis\",caller=\"gateway\"} 0",
            "unipic_failovers_total{backend=\"decoder\",caller=\"gateway\"} 0",
            "unipic_answer_tokens_total{kind=\"completion\"} 0",
        ],
    );
    assert!(metrics.render().contains("unipic_build_info{"), "the hash is known once the backends have told theirs");
}

#[tokio::test]
async fn images_and_answers_are_counted() {
    let (gateway, _, metrics) = gateway(Script::default(), 1, 1).await;
    collect(gateway.generate(generate("a", options())).await).await.expect("drawn");
    let turns = vec![turn(pb::Role::User, vec![text("Hello?")])];
    let question = pb::UnderstandRequest { turns, ..Default::default() };
    collect(gateway.understand(Request::new(question)).await).await.expect("answered");
    until_told(&metrics, "unipic_admission_running 0").await;
    assert_tells(
        &metrics,
        &[
            "unipic_image_seconds_count{task=\"generate\"} 2",
            "unipic_first_token_seconds_count 1",
            "unipic_answer_tokens_total{kind=\"prompt\"} 20",
            "unipic_answer_tokens_total{kind=\"completion\"} 4",
            "unipic_admission_wait_seconds_count 2",
            "unipic_admission_queued 0",
        ],
    );
}

#[tokio::test]
async fn who_waits_and_who_runs_is_told_and_falls_with_them() {
    let (gateway, script, metrics) = gateway(Script { hang: true, ..Script::default() }, 1, 2).await;
    let mut running = gateway.generate(generate("a", options())).await.expect("runs").into_inner();
    running.next().await.expect("an event").expect("progress");
    let waiting = gateway.generate(generate("b", options())).await.expect("waits");
    let too = gateway.generate(generate("c", options())).await.expect("waits");
    assert_tells(&metrics, &["unipic_admission_running 1", "unipic_admission_queued 2"]);
    assert_eq!(gateway.generate(generate("d", options())).await.err().map(|e| e.code()), Some(Code::ResourceExhausted));
    drop(too);
    until_told(&metrics, "unipic_admission_queued 1").await;
    let late = gateway.generate(within(generate("e", options()), Duration::from_millis(20))).await;
    assert_eq!(collect(late).await.expect_err("late").code(), Code::DeadlineExceeded);
    until_told(&metrics, "unipic_admission_queued 1").await;
    drop((waiting, running));
    until_told(&metrics, "unipic_admission_queued 0").await;
    until_told(&metrics, "unipic_admission_running 0").await;
    // Nobody finished, and the refused and the late one never had a turn.
    assert!(!metrics.render().contains("unipic_image_seconds_count"), "{}", metrics.render());
    assert_eq!(script.synthesized.lock().expect("lock").len(), 1);
    assert_tells(&metrics, &["unipic_admission_wait_seconds_count 1"]);
}

#[tokio::test]
async fn lost_work_counts_as_retry_and_as_failover_once_it_ended_well() {
    let script = Script {
        lose_synthesis: AtomicUsize::new(1),
        lose_answer: AtomicUsize::new(1),
        lose_after_images: 1,
        ..Script::default()
    };
    let (gateway, script, metrics) = gateway(script, 1, 1).await;
    collect(gateway.generate(generate("a", options())).await).await.expect("drawn");
    let turns = vec![turn(pb::Role::User, vec![text("Hello?")])];
    let question = pb::UnderstandRequest { turns, ..Default::default() };
    collect(gateway.understand(Request::new(question)).await).await.expect("answered");
    // Lost for good: tried again, but no failover.
    assert_tells(&metrics, &["unipic_retries_total{backend=\"synthesis\",caller=\"gateway\"} 1"]);
    script.lose_synthesis.store(usize::MAX, Ordering::SeqCst);
    collect(gateway.generate(generate("a", options())).await).await.expect_err("lost until patience ends");
    let tried = script.synthesized.lock().expect("lock").len();
    assert!(tried > 3, "{tried}");
    // All but the first attempts at the two requests.
    let retries = format!("unipic_retries_total{{backend=\"synthesis\",caller=\"gateway\"}} {}", tried - 2);
    assert_tells(
        &metrics,
        &[
            &retries,
            "unipic_failovers_total{backend=\"synthesis\",caller=\"gateway\"} 1",
            "unipic_retries_total{backend=\"decoder\",caller=\"gateway\"} 1",
            "unipic_failovers_total{backend=\"decoder\",caller=\"gateway\"} 1",
            "unipic_retries_total{backend=\"understanding\",caller=\"gateway\"} 0",
        ],
    );
}
