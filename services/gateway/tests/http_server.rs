//! What surrounds the HTTP routes: probes, the description, the page, other sites, and a real server around all of it.

#![allow(clippy::expect_used, clippy::panic)]

mod support;
mod web;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};
use support::{Fake, Script, gateway, with_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use unipic_gateway::{Config, Gateway, HttpConfig};
use unipic_serving::{Drained, ListenAddress, Ops, Problems, ServerConfig, Validate};
use unipic_telemetry::{Metrics, TelemetryConfig};
use web::{get, json_request, send};

#[tokio::test]
async fn the_model_is_listed_with_its_limits() {
    let (gateway, _) = gateway(Script::default()).await;
    let list = get(&gateway, "/v1/models").await.json();
    let model = &list["data"][0];
    assert_eq!((&list["object"], &model["id"]), (&json!("list"), &json!("unipic-h64-64px")));
    assert_eq!(model["unipic"]["stride"], 16);
    assert_eq!((&model["unipic"]["defaults"]["width"], &model["unipic"]["limits"]["max_n"]), (&json!(64), &json!(8)));
    assert_eq!(model["unipic"]["encoder_paths"], json!(["siglip2", "mar"]));
    assert_eq!(get(&gateway, "/v1/models/unipic-h64-64px").await.json()["id"], model["id"]);
    assert_eq!(get(&gateway, "/v1/models/other").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&gateway, "/readyz").await.json()["status"], "ready");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_of_the_same_shape() {
    let (gateway, _) = gateway(Script::default()).await;
    for (answer, status) in [
        (get(&gateway, "/v1/embeddings").await, StatusCode::NOT_FOUND),
        (get(&gateway, "/../Cargo.toml").await, StatusCode::NOT_FOUND),
        (get(&gateway, "/v1/images/edits").await, StatusCode::METHOD_NOT_ALLOWED),
    ] {
        assert_eq!(answer.status, status);
        answer.blamed();
    }
}

#[tokio::test]
async fn the_page_comes_with_its_policy_and_is_not_sent_twice() {
    let (gateway, _) = gateway(Script::default()).await;
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
    ] {
        let answer = get(&gateway, path).await;
        assert_eq!((answer.status, answer.header(header::CONTENT_TYPE)), (StatusCode::OK, media_type));
        let policy = answer.header(header::CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'self'; img-src 'self' data: blob:;"), "{policy}");
        assert_eq!(answer.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        let tag = answer.header(header::ETAG).to_owned();
        let again = Request::get(path).header(header::IF_NONE_MATCH, &tag).body(Body::empty()).expect("a request");
        let again = send(&gateway, again).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
        let other = Request::get(path).header(header::IF_NONE_MATCH, "\"x\"").body(Body::empty()).expect("a request");
        assert_eq!(send(&gateway, other).await.body, answer.body);
    }
}

#[tokio::test]
async fn pages_of_other_sites_are_kept_out_unless_they_are_named() {
    let named = "https://example.org";
    let http = HttpConfig { cors_origins: vec![named.to_owned()], ..HttpConfig::default() };
    let (closed, _) = gateway(Script::default()).await;
    let (open, _) = with_config(Script::default(), Config { http, ..Config::default() }).await;
    let request = |origin: &str, site: &str| {
        let mut request = json_request("/v1/images/generations", &json!({"prompt": "a", "iterations": 1}));
        request.headers_mut().insert(header::ORIGIN, origin.parse().expect("a value"));
        request.headers_mut().insert("sec-fetch-site", site.parse().expect("a value"));
        request
    };
    for (gateway, origin, site, status, allowed) in [
        (&closed, "http://127.0.0.1:8080", "same-origin", StatusCode::OK, ""),
        (&closed, named, "cross-site", StatusCode::FORBIDDEN, ""),
        (&open, named, "cross-site", StatusCode::OK, named),
        (&open, "https://other.example", "cross-site", StatusCode::FORBIDDEN, ""),
    ] {
        let answer = send(gateway, request(origin, site)).await;
        assert_eq!(answer.status, status, "{origin}: {answer:?}");
        assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), allowed);
    }
}

#[test]
fn origins_are_judged_with_the_configuration() {
    let problems = |origin: &str| {
        let http = HttpConfig { cors_origins: vec![origin.to_owned()], ..HttpConfig::default() };
        let mut problems = Problems::default();
        Config { http, ..Config::default() }.validate(&mut problems);
        problems.found().to_vec()
    };
    for good in ["https://example.org", "http://localhost:3000", "http://[::1]:8000"] {
        assert!(problems(good).is_empty(), "{good}");
    }
    for bad in ["*", "example.org", "https://", "https://example.org/", "https://a b"] {
        assert!(problems(bad)[0].starts_with("http.cors_origins: "), "{bad}");
    }
    let hosts = |host: &str| {
        let http = HttpConfig { allowed_hosts: vec![host.to_owned()], ..HttpConfig::default() };
        let mut problems = Problems::default();
        Config { http, ..Config::default() }.validate(&mut problems);
        problems.found().to_vec()
    };
    for good in ["pictures.example", "192.0.2.7", "[2001:db8::1]"] {
        assert!(hosts(good).is_empty(), "{good}");
    }
    for bad in ["", "https://pictures.example", "pictures.example:443", "pictures.example/", "a b"] {
        assert!(hosts(bad)[0].starts_with("http.allowed_hosts: "), "{bad}");
    }
    assert!("on".parse::<unipic_gateway::HttpListen>().is_err_and(|error| error.contains("off")));
}

/// A gateway on two free ports.
struct Running {
    script: Arc<Script>,
    http: String,
    grpc_port: String,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
}

impl Running {
    async fn start(script: Script) -> Self {
        Self::with_config(script, Config::default()).await
    }

    async fn with_config(script: Script, config: Config) -> Self {
        Self::with_server(script, config, ServerConfig::default()).await
    }

    async fn with_server(script: Script, config: Config, server: ServerConfig) -> Self {
        let bind = async || "127.0.0.1:0".parse::<ListenAddress>().expect("an address").bind().await.expect("binds");
        let (grpc, http) = (bind().await, bind().await);
        let grpc_port = grpc.address().expect("bound").to_string().replace("127.0.0.1:", "");
        let address = http.address().expect("bound").to_string();
        let script = Arc::new(script);
        let metrics = Metrics::new(&TelemetryConfig::for_service("test")).expect("no exporter to fail");
        let gateway = Gateway::counted(Fake(Arc::clone(&script)), config, &metrics);
        gateway.refresh_model().await.expect("the fakes fit each other");
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            gateway.serve(grpc, Some(http), Ops::default(), &server, shutdown).await
        });
        Self { script, http: address, grpc_port, metrics, stop, served }
    }

    /// Sends a request with a JSON body over a connection of its own.
    async fn post(&self, path: &str, body: &Value) -> TcpStream {
        let mut peer = TcpStream::connect(&self.http).await.expect("connects");
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        peer.write_all((head + &body).as_bytes()).await.expect("sends");
        peer
    }

    /// The whole answer to a request for a path of a host, over a connection of its own.
    async fn get(&self, path: &str, host: &str) -> String {
        let mut peer = TcpStream::connect(&self.http).await.expect("connects");
        let head = format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        peer.write_all(head.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    async fn until_told(&self, line: &str) {
        let told = async {
            while !self.metrics.render().lines().any(|found| found == line) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(10), told).await;
        told.unwrap_or_else(|_| panic!("{line}\n{}", self.metrics.render()));
    }

    async fn until_alive(&self, wanted: usize) {
        let reached = async {
            while self.script.alive.load(Ordering::SeqCst) != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reached).await.expect("never as many backend streams");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_work() {
    let running = Running::start(Script { hang: true, ..Script::default() }).await;
    let conversation = json!([{"role": "user", "content": "Hi"}]);
    for (path, body) in [
        ("/v1/images/generations", json!({"prompt": "a"})),
        ("/v1/images/generations", json!({"prompt": "a", "stream": true})),
        ("/v1/chat/completions", json!({"messages": conversation})),
        ("/v1/chat/completions", json!({"messages": conversation, "stream": true})),
    ] {
        let peer = running.post(path, &body).await;
        running.until_alive(1).await;
        drop(peer);
        running.until_alive(0).await;
    }
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_takes_no_new_connections() {
    let running = Running::start(Script { pace_ms: 20, ..Script::default() }).await;
    let mut idle = TcpStream::connect(&running.http).await.expect("connects");
    let mut peer = running.post("/v1/images/generations", &json!({"prompt": "a", "iterations": 4})).await;
    running.until_alive(1).await;
    running.stop.send(()).expect("runs");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"b64_json\""), "{answer:.300}");
    assert_eq!(running.served.await.expect("joins"), Drained { calls_cut_off: 0 });
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(&running.http).await.is_err());
}

#[tokio::test]
async fn what_a_drain_waits_for_no_longer_is_told_so() {
    let server = ServerConfig { drain_seconds: 0.3, ..ServerConfig::default() };
    let hanging = Script { hang: true, ..Script::default() };
    let running = Running::with_server(hanging, Config::default(), server).await;
    let mut whole = running.post("/v1/images/generations", &json!({"prompt": "a"})).await;
    let mut stream = running.post("/v1/images/generations", &json!({"prompt": "a", "stream": true})).await;
    running.until_alive(2).await;
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.expect("the stream has begun");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let mut upload = TcpStream::connect(&running.http).await.expect("connects");
    let unfinished = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                      Content-Length: 50\r\n\r\n{";
    upload.write_all(unfinished.as_bytes()).await.expect("sends");
    // The server has read it once it has something to wait for.
    running.until_told("unipic_requests_running{method=\"POST /v1/chat/completions\"} 1").await;
    running.stop.send(()).expect("runs");
    for peer in [&mut whole, &mut upload] {
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1"), "{head}");
        let error: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&error["error"]["code"], &error["error"]["status"]), (&json!("draining"), &json!(503)));
    }
    let mut events = String::new();
    stream.read_to_string(&mut events).await.expect("a whole stream, ended as one");
    assert!(events.contains("event: error") && events.contains("\"code\":\"draining\""), "{events}");
    assert!(events.ends_with("0\r\n\r\n"), "the body has its end: {events}");
    assert_eq!(running.served.await.expect("joins"), Drained { calls_cut_off: 3 });
    assert_eq!(running.script.alive.load(Ordering::SeqCst), 0, "work goes on");
}

#[tokio::test]
async fn an_upload_without_end_is_refused_at_its_limit() {
    let running = Running::start(Script::default()).await;
    let mut peer = TcpStream::connect(&running.http).await.expect("connects");
    let head = "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    peer.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.expect("sends");
    let (mut reader, mut writer) = peer.into_split();
    let upload = tokio::spawn(async move {
        let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
        while writer.write_all(chunk.as_bytes()).await.is_ok() {}
    });
    let mut status = [0; 12];
    reader.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 413");
    drop(reader);
    upload.await.expect("the connection is closed");
}

#[tokio::test]
async fn a_name_that_a_stranger_gave_this_machine_is_not_answered() {
    let own = Running::start(Script::default()).await;
    let http = HttpConfig { allowed_hosts: vec!["pictures.example".to_owned()], ..HttpConfig::default() };
    let named = Running::with_config(Script::default(), Config { http, ..Config::default() }).await;
    for (running, path, host, status) in [
        (&own, "/v1/models", "Host: localhost:8080\r\n", "200"),
        (&own, "/v1/models", "Host: [::1]\r\n", "200"),
        // What names no host is no browser.
        (&own, "/v1/models", "", "200"),
        (&own, "/v1/models", "Host: evil.example\r\n", "421"),
        (&own, "/", "Host: evil.example:8080\r\n", "421"),
        (&own, "/v1/models", "Host: localhost\r\nHost: evil.example\r\n", "421"),
        (&own, "/v1/models", "Host: pictures.example\r\n", "421"),
        (&own, "/readyz", "Host: evil.example\r\n", "200"),
        (&named, "/v1/models", "Host: pictures.example:443\r\n", "200"),
        (&named, "/v1/models", "Host: 127.0.0.1\r\n", "200"),
        (&named, "/v1/models", "Host: evil.example\r\n", "421"),
    ] {
        let answer = running.get(path, host).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {host:?}: {answer}");
        let error = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if status == "421" {
            let error: Value = serde_json::from_str(error).expect("JSON");
            assert_eq!(error["error"]["code"], "unknown_host", "{error}");
        }
    }
}

#[tokio::test]
async fn clients_are_told_where_grpc_is() {
    let running = Running::start(Script::default()).await;
    let answer = running.get("/v1/models", "Host: localhost\r\n").await;
    assert!(answer.contains(&format!("\"grpc_port\":{}", running.grpc_port)), "{answer}");
}

#[tokio::test]
async fn requests_are_counted_with_those_of_grpc() {
    let lost = Script { lose_answer: std::sync::atomic::AtomicUsize::new(usize::MAX), ..Script::default() };
    let failover = unipic_client::RetryPolicy { patience_seconds: 0.2, ..Default::default() };
    let running = Running::with_config(lost, Config { failover, ..Config::default() }).await;
    let send = async |path: &str, body: &Value| {
        let mut peer = running.post(path, body).await;
        let mut answer = [0; 12];
        peer.read_exact(&mut answer).await.expect("an answer");
        let mut rest = Vec::new();
        let whole = tokio::time::timeout(Duration::from_millis(500), peer.read_to_end(&mut rest));
        drop(whole.await);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let conversation = json!([{"role": "user", "content": "Hi"}]);
    for (path, body, status) in [
        ("/v1/images/generations", json!({"prompt": "a", "iterations": 1}), "200"),
        ("/v1/images/generations", json!({"prompt": "a", "iterations": 1, "stream": true}), "200"),
        ("/v1/images/generations", json!({"prompt": ""}), "400"),
        ("/v1/chat/completions", json!({"messages": conversation, "model": "other"}), "404"),
        // Good words first, then none: within a status that is good already.
        ("/v1/chat/completions", json!({"messages": conversation, "stream": true}), "200"),
    ] {
        assert_eq!(send(path, &body).await, format!("HTTP/1.1 {status}"), "{path} {body}");
    }
    let of = |route: &str, code: &str, n: u32| {
        format!("unipic_requests_total{{code=\"{code}\",method=\"POST {route}\"}} {n}")
    };
    running.until_told(&of("/v1/images/generations", "OK", 2)).await;
    running.until_told(&of("/v1/images/generations", "INVALID_ARGUMENT", 1)).await;
    running.until_told(&of("/v1/chat/completions", "NOT_FOUND", 1)).await;
    running.until_told(&of("/v1/chat/completions", "UNAVAILABLE", 1)).await;
    running.until_told("unipic_requests_refused_total{reason=\"invalid\"} 2").await;
    running.until_told("unipic_requests_running{method=\"POST /v1/images/generations\"} 0").await;
}

#[tokio::test]
async fn a_request_whose_client_goes_away_is_counted_as_cancelled() {
    let running = Running::start(Script { hang: true, ..Script::default() }).await;
    let peer = running.post("/v1/images/generations", &json!({"prompt": "a", "stream": true})).await;
    running.until_alive(1).await;
    drop(peer);
    running.until_told("unipic_requests_total{code=\"CANCELLED\",method=\"POST /v1/images/generations\"} 1").await;
}
