//! Plain HTTP over real connections: peers that stop in the middle, and calls that last.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use unipic_measures::measured;
use unipic_serving::{CallContext, ListenAddress, PacedBody, ServerConfig, SlowUpload, serve_web};

/// Answers with the request's body, or with 408 where that came too slowly.
async fn echo(request: Request<PacedBody<Incoming>>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert!(CallContext::among(request.extensions()).remaining() <= Duration::from_secs(60));
    Ok(match request.into_body().collect().await {
        Ok(body) => Response::new(Full::new(body.to_bytes())),
        Err(error) if error.is::<SlowUpload>() => Response::builder().status(408).body(Full::default()).unwrap(),
        Err(_) => Response::builder().status(400).body(Full::default()).unwrap(),
    })
}

/// Serves until the test ends; returns the address.
async fn start() -> String {
    let listener = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().await.unwrap();
    let address = listener.address().unwrap().to_string();
    let config = ServerConfig { max_call_seconds: 60.0, ..ServerConfig::default() };
    tokio::spawn(async move { serve_web(listener, tower::service_fn(echo), &config, std::future::pending()).await });
    address
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let mut peer = TcpStream::connect(start().await).await.unwrap();
    for _ in 0..3 {
        peer.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            let mut byte = [0];
            peer.read_exact(&mut byte).await.unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn peers_that_stop_in_the_middle_are_closed() {
    let address = start().await;
    // Nothing, half a head, a whole one with half a body, and a finished request with none after it.
    let attempts = [
        ("", ""),
        ("POST / HTTP/1.1\r\nHo", ""),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe", "HTTP/1.1 408"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200"),
    ];
    let began = Instant::now();
    let attempts = attempts.map(async |(sent, answered)| {
        let mut peer = TcpStream::connect(&address).await.unwrap();
        peer.write_all(sent.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), peer.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "still open after 20 s with {sent:?}");
        assert!(String::from_utf8_lossy(&rest).starts_with(answered), "{sent:?}: {}", String::from_utf8_lossy(&rest));
    });
    futures::future::join_all(attempts).await;
    measured!("closed after, s", format!("{:.1}", began.elapsed().as_secs_f64()));
}

#[tokio::test]
async fn heads_have_a_limit() {
    let mut peer = TcpStream::connect(start().await).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(20 << 10));
    peer.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    peer.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 431");
}
