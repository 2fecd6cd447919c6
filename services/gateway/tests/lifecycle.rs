//! Waiting, refusing, cancelling, deadlines: what happens around a flow.

#![allow(clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use pb::generate_response::Event;
use pb::uni_pic_server::{UniPic, UniPicServer};
use support::{Script, collect, gateway, gateway_for, generate, within};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request};
use unipic_api::{ApiError, pb};

fn options() -> pb::ImageOptions {
    pb::ImageOptions { iterations: Some(2), ..Default::default() }
}

fn hanging() -> Script {
    Script { hang: true, ..Script::default() }
}

/// Waits until so many backend streams are alive.
async fn until_alive(script: &Arc<Script>, wanted: usize) {
    let reached = async {
        while script.alive.load(Ordering::SeqCst) != wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reached).await.expect("the backend streams never came to that number");
}

#[tokio::test]
async fn a_full_queue_refuses_with_the_time_to_come_back() {
    let (gateway, script) = gateway_for(hanging(), 1, 1).await;
    let running = gateway.generate(generate("a", options())).await.expect("runs");
    until_alive(&script, 1).await;
    let mut waiting = gateway.generate(generate("b", options())).await.expect("waits").into_inner();
    let event = waiting.next().await.expect("an event").expect("no error").event;
    assert!(matches!(event, Some(Event::Queued(pb::Queued { position: 0 }))), "{event:?}");
    let status = gateway.generate(generate("c", options())).await.err().expect("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let ApiError::Overloaded { retry_after, .. } = ApiError::from_status(&status) else { panic!("{status:?}") };
    assert!(retry_after >= Duration::from_secs(1) && retry_after <= Duration::from_secs(60));
    assert_eq!(script.synthesized.lock().expect("lock").len(), 1, "only the running request reached a backend");

    // The place passes on when the running request goes away, and the queue has room again.
    drop(running);
    let event = waiting.next().await.expect("an event").expect("no error").event;
    assert!(matches!(event, Some(Event::Progress(_))), "{event:?}");
    gateway.generate(generate("d", options())).await.expect("there is room again");
}

#[tokio::test]
async fn those_who_wait_learn_that_they_moved_up() {
    let (gateway, script) = gateway_for(hanging(), 1, 8).await;
    let running = gateway.generate(generate("a", options())).await.expect("runs").into_inner();
    until_alive(&script, 1).await;
    let mut waiting = Vec::new();
    for expected in 0..3 {
        let mut stream = gateway.generate(generate("b", options())).await.expect("waits").into_inner();
        let event = stream.next().await.expect("an event").expect("no error").event;
        assert!(matches!(event, Some(Event::Queued(pb::Queued { position })) if position == expected), "{event:?}");
        waiting.push(stream);
    }
    drop(running);
    let event = waiting[2].next().await.expect("an event").expect("no error").event;
    assert!(matches!(event, Some(Event::Queued(pb::Queued { position: 1 }))), "{event:?}");
}

#[tokio::test]
async fn dropping_the_stream_ends_the_backends_work() {
    let (gateway, script) = gateway(hanging()).await;
    let mut stream = gateway.generate(generate("a", options())).await.expect("runs").into_inner();
    stream.next().await.expect("an event").expect("progress");
    until_alive(&script, 1).await;
    drop(stream);
    until_alive(&script, 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_over_the_network_ends_the_backends_work() {
    let (gateway, script) = gateway_for(hanging(), 1, 4).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = tonic::transport::Server::builder()
        .add_service(UniPicServer::new(gateway))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let mut client = pb::uni_pic_client::UniPicClient::connect(url).await.expect("connects");
    for _ in 0..3 {
        let mut stream = client.generate(generate("a", options())).await.expect("runs").into_inner();
        stream.next().await.expect("an event").expect("progress");
        until_alive(&script, 1).await;
        drop(stream);
        until_alive(&script, 0).await;
    }
    server.abort();
}

#[tokio::test]
async fn a_deadline_ends_the_flow_and_its_work() {
    let (gateway, script) = gateway(hanging()).await;
    let request = within(generate("a", options()), Duration::from_millis(80));
    let status = collect(gateway.generate(request).await).await.expect_err("late");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    until_alive(&script, 0).await;
}

#[tokio::test]
async fn a_deadline_also_ends_the_wait_for_a_place() {
    let (gateway, script) = gateway_for(hanging(), 1, 4).await;
    let _running = gateway.generate(generate("a", options())).await.expect("runs");
    until_alive(&script, 1).await;
    let request = within(generate("b", options()), Duration::from_millis(80));
    let status = collect(gateway.generate(request).await).await.expect_err("late");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(script.synthesized.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn places_are_all_free_again_after_a_crowd() {
    let (gateway, script) = gateway_for(Script { pace_ms: 1, ..Script::default() }, 2, 100).await;
    let mut crowd = Vec::new();
    for index in 0..60 {
        let stream = gateway.generate(generate("a", options())).await.expect("room");
        // Every third one leaves at once.
        if index % 3 != 0 {
            crowd.push(tokio::spawn(async { collect(Ok(stream)).await.map(|events| events.len()) }));
        }
    }
    for member in crowd {
        member.await.expect("joins").expect("drawn");
    }
    until_alive(&script, 0).await;
    let (gateway, request) = (gateway, Request::new(pb::GenerateRequest { prompt: "z".into(), ..Default::default() }));
    let last = tokio::time::timeout(Duration::from_secs(5), collect(gateway.generate(request).await));
    last.await.expect("a place is free").expect("drawn");
}
