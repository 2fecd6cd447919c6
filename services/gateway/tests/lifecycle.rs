//! Waiting, refusing, cancelling, deadlines: what happens around a flow.

#![allow(clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use pb::generate_response::Event;
use pb::uni_pic_server::{UniPic, UniPicServer};
use support::{Fake, Script, collect, gateway, gateway_for, generate, image, png, text, turn, within};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Status};
use unipic_api::{ApiError, pb};
use unipic_gateway::Gateway;
use unipic_measures::measured;

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
    measured!("time to come back, s", retry_after.as_secs_f64());
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
    let n_asked = 60;
    for index in 0..n_asked {
        let stream = gateway.generate(generate("a", options())).await.expect("room");
        // Every third one leaves at once.
        if index % 3 != 0 {
            crowd.push(tokio::spawn(async { collect(Ok(stream)).await.map(|events| events.len()) }));
        }
    }
    let n_drawn = crowd.len();
    for member in crowd {
        member.await.expect("joins").expect("drawn");
    }
    until_alive(&script, 0).await;
    let request = Request::new(pb::GenerateRequest { prompt: "z".into(), ..Default::default() });
    let last = tokio::time::timeout(Duration::from_secs(5), collect(gateway.generate(request).await));
    last.await.expect("a place is free").expect("drawn");
    measured!("requests of a crowd", n_asked);
    measured!("of them left", n_asked - n_drawn);
    measured!("running or waiting afterwards", held(&gateway).await);
}

/// What still runs or waits, when it has had the time to notice that it need not.
async fn held(gateway: &Gateway<Fake>) -> usize {
    for _ in 0..2500 {
        if gateway.load() == (0, 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    gateway.load().0 + gateway.load().1
}

/// A flow of the public API.
#[derive(Clone, Copy, Debug)]
enum Flow {
    Generate,
    Edit,
    Understand,
}

/// Asks and reads to the end.
async fn ask(gateway: &Gateway<Fake>, flow: Flow, limit: Duration) -> Result<(), Status> {
    match flow {
        Flow::Generate => {
            let request = within(generate("a", options()), limit);
            collect(gateway.generate(request).await).await.map(drop)
        }
        Flow::Edit => {
            let (image, instruction, options) = (png(64, 64).into(), "make it blue".to_owned(), Some(options()));
            let request = pb::EditRequest { image, instruction, options, ..Default::default() };
            collect(gateway.edit(within(Request::new(request), limit)).await).await.map(drop)
        }
        Flow::Understand => {
            let turns = vec![turn(pb::Role::User, vec![image(png(8, 8)), text("what is this?")])];
            let request = pb::UnderstandRequest { turns, ..Default::default() };
            collect(gateway.understand(within(Request::new(request), limit)).await).await.map(drop)
        }
    }
}

/// What a flow waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    Place,
    Encoding,
    /// The rest of an image or an answer.
    Events,
}

#[tokio::test]
async fn whatever_a_flow_waits_for_a_deadline_or_a_caller_that_leaves_ends_it() {
    let stages = [
        (Flow::Generate, Wait::Place),
        (Flow::Generate, Wait::Events),
        (Flow::Edit, Wait::Place),
        (Flow::Edit, Wait::Events),
        (Flow::Understand, Wait::Place),
        (Flow::Understand, Wait::Encoding),
        (Flow::Understand, Wait::Events),
    ];
    let (mut n_late, mut n_left, mut n_held) = (0, 0, 0);
    let (soon, later) = (Duration::from_millis(60), Duration::from_secs(60));
    for (flow, wait) in stages {
        let script = Script { hang_encoding: wait == Wait::Encoding, ..hanging() };
        let (gateway, script) = gateway_for(script, 1, 4).await;
        let other = match wait {
            Wait::Place => Some(gateway.generate(generate("other", options())).await.expect("runs")),
            _ => None,
        };
        until_alive(&script, usize::from(other.is_some())).await;
        let status = ask(&gateway, flow, soon).await.expect_err("late");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{flow:?} waits for {wait:?}");
        n_late += 1;
        tokio::time::timeout(soon, ask(&gateway, flow, later)).await.expect_err("it ended by itself");
        n_left += 1;
        drop(other);
        n_held = n_held.max(held(&gateway).await);
        until_alive(&script, 0).await;
    }
    measured!("stages with a deadline", n_late);
    measured!("stages with a caller that left", n_left);
    measured!("running or waiting afterwards", n_held);
    assert_eq!(n_held, 0);
}
