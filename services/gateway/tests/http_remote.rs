//! Conversations whose images are addresses, over scripted backends and a server of pictures on this machine.

#![allow(clippy::expect_used, clippy::panic)]

mod support;
mod web;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use serde_json::{Value, json};
use support::{Fake, Script, png, readable, with_config};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use unipic_gateway::{Config, Gateway, HttpConfig, LimitsConfig, RemoteImagesConfig};
use unipic_serving::{Problems, Validate};
use web::post;

const CHAT: &str = "/v1/chat/completions";

/// A server with a picture at `/a.png` and no picture at `/text`, and how often the picture was asked for.
async fn pictures() -> (SocketAddr, Arc<AtomicUsize>) {
    let n_asked = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::clone(&n_asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A stream that breaks off is the client's to notice.
            let _ = answer(BufStream::new(stream), &count).await;
        }
    });
    (address, n_asked)
}

async fn answer(mut stream: BufStream<TcpStream>, count: &AtomicUsize) -> std::io::Result<()> {
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).await?;
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let (status, file) = match first.split(' ').nth(1) {
        Some("/a.png") => {
            count.fetch_add(1, Ordering::SeqCst);
            ("200 OK", png(4, 4))
        }
        Some("/text") => ("200 OK", b"no picture".to_vec()),
        _ => ("404 Not Found", Vec::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
    stream.write_all(&[head.as_bytes(), &file].concat()).await?;
    stream.flush().await
}

async fn gateway(at: SocketAddr, limits: LimitsConfig) -> (Gateway<Fake>, Arc<Script>) {
    let private_hosts = vec![at.to_string()];
    let remote_images = RemoteImagesConfig { fetch: true, private_hosts, ..RemoteImagesConfig::default() };
    let http = HttpConfig { remote_images, ..HttpConfig::default() };
    with_config(Script::default(), Config { http, limits, ..Config::default() }).await
}

fn image(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

#[tokio::test]
async fn an_image_at_an_address_is_as_good_as_one_sent_along() {
    let (at, n_asked) = pictures().await;
    let (gateway, script) = gateway(at, LimitsConfig::default()).await;
    let url = format!("HTTP://{at}/a.png");
    let sent = image(&format!("data:image/png;base64,{}", web::base64(&png(4, 4))));
    let mut prompts = Vec::new();
    for images in [[sent.clone(), sent.clone()], [sent, image(&url)]] {
        let [first, second] = images;
        let request = json!({"messages": [
            {"role": "user", "content": [first, {"type": "text", "text": "Look."}]},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": [{"type": "text", "text": "And this?"}, second]},
        ]});
        let answer = post(&gateway, CHAT, &request).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        prompts.push(readable(&script.answered.lock().expect("lock").pop().expect("asked").prompt));
    }
    assert_eq!(prompts[0], prompts[1]);
    assert_eq!(n_asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_cannot_be_fetched_is_named() {
    let (at, n_asked) = pictures().await;
    let limits = LimitsConfig { max_image_bytes: 2000, ..LimitsConfig::default() };
    let (gateway, script) = gateway(at, limits).await;
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let field = "messages[0].content[1].image_url";
    for (url, part) in [
        (format!("http://{at}/none"), "status 404"),
        (format!("http://{at}/text"), ""),
        (format!("http://127.0.0.1:{}/a.png", at.port() ^ 1), "not public"),
        ("http://localhost/a.png".to_owned(), "not public"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), "not public"),
        ("http://[::1]/a.png".to_owned(), "not public"),
        ("https://1.1.1.1:22/a.png".to_owned(), "another port"),
        ("https://me:secret@example.org/a.png".to_owned(), "password"),
        ("http://".to_owned(), "no address"),
    ] {
        let answer = post(&gateway, CHAT, &user(json!([{"type": "text", "text": "Hm?"}, image(&url)]))).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{url}: {answer:?}");
        let (blamed, message) = answer.blamed();
        assert!(blamed == field && message.contains(part), "{url}: {blamed}: {message}");
    }
    // Too many are not fetched at all.
    let many = post(&gateway, CHAT, &user(json!(vec![image(&format!("http://{at}/a.png")); 9]))).await;
    assert!(many.blamed().1.contains("at most 8 images, not 9"), "{many:?}");
    // Nor are those of a request that is wrong otherwise.
    for (name, value) in [("temperature", json!(3)), ("temperature", json!("warm")), ("steps", json!(1))] {
        let mut wrong = user(json!([image(&format!("http://{at}/a.png"))]));
        wrong[name] = value;
        assert_eq!(post(&gateway, CHAT, &wrong).await.blamed().0, name);
    }
    assert_eq!(n_asked.load(Ordering::SeqCst), 0);
    assert!(script.answered.lock().expect("lock").is_empty());
}

#[test]
fn bad_settings_are_named() {
    for (remote_images, key) in [
        (RemoteImagesConfig { timeout_seconds: f64::NAN, ..Default::default() }, "timeout_seconds"),
        (RemoteImagesConfig { max_redirects: 21, ..Default::default() }, "max_redirects"),
        (RemoteImagesConfig { max_concurrent: 0, ..Default::default() }, "max_concurrent"),
        (RemoteImagesConfig { private_hosts: vec!["images".to_owned()], ..Default::default() }, "private_hosts"),
    ] {
        let mut problems = Problems::default();
        HttpConfig { remote_images, ..HttpConfig::default() }.validate(&mut problems);
        let found = problems.found();
        assert!(found.len() == 1 && found[0].starts_with(&format!("remote_images.{key}: ")), "{found:?}");
    }
}
