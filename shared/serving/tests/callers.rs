//! Callers that hold on to what they have: requests that never come.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

mod support;

use std::time::{Duration, Instant};

use futures::StreamExt;
use unipic_serving::{Drained, ServerConfig};

use support::Running;

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
