//! Callers that hold on to what they have: requests that never come, answers that are not read, connections without calls,
//! and many of them.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

mod support;

use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use unipic_api::pb::GetModelRequest;
use unipic_serving::{ConnectionsConfig, Drained, ServerConfig};

use support::{Running, late, prompt};

/// A call to Generate whose request is `sent` and nothing after it, not even an end.
fn unfinished(
    running: &Running,
    sent: &'static [u8],
) -> http::Request<impl http_body::Body<Data = bytes::Bytes, Error = std::io::Error> + Send + Unpin + 'static> {
    let frame = Ok(http_body::Frame::data(bytes::Bytes::from_static(sent)));
    let frames = futures::stream::iter([frame]).chain(futures::stream::pending());
    http::Request::post(format!("{}/unipic.v1.UniPic/Generate", running.address))
        .header("content-type", "application/grpc")
        .body(http_body_util::StreamBody::new(Box::pin(frames)))
        .unwrap()
}

#[tokio::test]
async fn a_call_whose_request_never_comes_is_ended_and_holds_no_drain() {
    let mut running = Running::ready(ServerConfig::default()).await;
    let (mut sender, _connection) = running.bare().await;
    // Nothing, half a message, and a whole one without an end.
    let sent = [&b""[..], b"\0\0\0\0\x05\x0a\x03", b"\0\0\0\0\x05\x0a\x03ten"];
    let answers: Vec<_> = sent.map(|sent| sender.send_request(unfinished(&running, sent))).into();
    let answers = tokio::spawn(futures::future::join_all(answers));
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop();
    let start = Instant::now();
    assert_eq!(running.server.await.unwrap(), Drained { calls_cut_off: 0 });
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    for answer in answers.await.unwrap() {
        let answer = answer.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "10", "{answer:?}");
        assert_eq!(answer.headers()["grpc-message"], "the%20request's%20body%20came%20too%20slowly");
    }
}

#[tokio::test]
async fn a_caller_that_does_not_read_holds_its_call_no_longer_than_its_deadline() {
    // The caller's deadline, then the server's own limit.
    for (max_call_seconds, request) in [(60.0, late("eager", "300m")), (0.3, prompt("eager"))] {
        let running = Running::ready(ServerConfig { max_call_seconds, ..ServerConfig::default() }).await;
        let mut client = running.client().await;
        let unread = client.generate(request).await.unwrap().into_inner();
        let line = |line: &str| running.metrics.render().lines().any(|found| found == line);
        assert!(line("unipic_requests_running{method=\"UniPic/Generate\"} 1"), "{}", running.metrics.render());
        tokio::time::sleep(Duration::from_millis(2000)).await;
        assert!(line("unipic_requests_running{method=\"UniPic/Generate\"} 0"), "{}", running.metrics.render());
        let ended = "unipic_requests_total{code=\"DEADLINE_EXCEEDED\",method=\"UniPic/Generate\"} 1";
        assert!(line(ended), "{}", running.metrics.render());
        // The connection goes on.
        client.get_model(GetModelRequest {}).await.unwrap();
        drop(unread);
    }
}

#[tokio::test]
async fn connections_without_calls_are_closed_and_others_are_not() {
    let connections = ConnectionsConfig { idle_seconds: 0.3, ..ConnectionsConfig::default() };
    let running = Running::ready(ServerConfig { connections, ..ServerConfig::default() }).await;
    let mut events = running.client().await.generate(prompt("forever")).await.unwrap().into_inner();
    let mut watch = HealthClient::new(running.channel().await)
        .watch(HealthCheckRequest { service: String::new() })
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap().unwrap();
    let (_sender, connection) = running.bare::<http_body_util::Empty<bytes::Bytes>>().await;
    let closed = tokio::time::timeout(Duration::from_secs(3), connection).await;
    closed.unwrap().unwrap().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(700), watch.message()).await.is_err(), "a watch was ended");
    events.message().await.unwrap().unwrap();
    // A client that comes back finds nothing changed.
    let mut client = running.client().await;
    for _ in 0..2 {
        client.get_model(GetModelRequest {}).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}

#[tokio::test]
async fn one_address_cannot_have_all_connections() {
    let connections = ConnectionsConfig { max_per_address: 3, ..ConnectionsConfig::default() };
    let running = Running::ready(ServerConfig { connections, ..ServerConfig::default() }).await;
    let address = running.address.strip_prefix("http://").unwrap();
    let connect = async || TcpStream::connect(address).await.unwrap();
    let held = [connect().await, connect().await, connect().await];
    let mut fourth = connect().await;
    let read = tokio::time::timeout(Duration::from_secs(2), fourth.read(&mut [0; 1])).await;
    // Closed without a word, in whichever way.
    assert!(!matches!(read.unwrap(), Ok(1..)));
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(5);
    while running.client_or_none().await.is_none() {
        assert!(Instant::now() < deadline, "places are not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
