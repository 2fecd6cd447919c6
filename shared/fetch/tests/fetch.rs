//! Fetching from servers that behave and from those that do not.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use unipic_fetch::{FetchError, FetchLimits, Fetcher};

const MOST: usize = 1000;

fn limits(private: &[SocketAddr]) -> FetchLimits {
    FetchLimits {
        max_bytes: MOST,
        timeout: Duration::from_millis(700),
        max_redirects: 2,
        max_concurrent: 4,
        private_hosts: private.iter().map(ToString::to_string).collect(),
    }
}

/// A server that answers every path as its name says, and how many requests it had.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, n_requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&n_requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, address));
        }
    });
    (address, n_requests)
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, own: SocketAddr) {
    let head = head(&mut stream).await;
    assert!(!head.to_lowercase().contains("authorization") && !head.to_lowercase().contains("referer"), "{head}");
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let to = |location: &str| format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let answer = match path.as_str() {
        "/file" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        "/large" => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MOST + 1),
        "/endless" => format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MOST + 1)),
        "/short" => "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello".to_owned(),
        "/slow" => "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nh".to_owned(),
        "/moved" => to("/file"),
        "/loop" => to("/loop"),
        "/inside" => to(&format!("http://127.0.0.2:{}/file", own.port())),
        "/metadata" => to("http://169.254.169.254/latest/meta-data"),
        "/script" => to("file:///etc/passwd"),
        "/nonsense" => "SSH-2.0-OpenSSH\r\n".to_owned(),
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    if path == "/slow" {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

/// A request up to its empty line.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn files_come_within_limits_and_nothing_else() {
    let (at, _) = server().await;
    let fetcher = Fetcher::new(limits(&[at])).unwrap();
    let get = async |path: &str| fetcher.fetch(&format!("http://{at}{path}")).await;
    assert_eq!(get("/file").await.unwrap(), "hello");
    assert_eq!(get("/moved").await.unwrap(), "hello");
    for (path, expected) in [
        ("/none", FetchError::Status(404)),
        ("/large", FetchError::TooLarge(MOST)),
        ("/endless", FetchError::TooLarge(MOST)),
        ("/short", FetchError::Unreachable),
        ("/nonsense", FetchError::Unreachable),
        ("/slow", FetchError::TooSlow(1)),
        ("/loop", FetchError::Redirects(2)),
        ("/inside", FetchError::NotPublic),
        ("/metadata", FetchError::NotPublic),
        ("/script", FetchError::Status(302)),
    ] {
        assert_eq!(get(path).await.unwrap_err(), expected, "{path}");
    }
}

/// An address that is not public is not even tried, by number or by a name that stands for it.
#[tokio::test]
async fn this_machine_is_not_asked() {
    let (at, n_requests) = server().await;
    let fetcher = Fetcher::new(limits(&[])).unwrap();
    for url in [format!("http://{at}/file"), format!("http://localhost:{}/file", at.port())] {
        let error = fetcher.fetch(&url).await.unwrap_err();
        assert!(matches!(error, FetchError::NotPublic | FetchError::Port), "{error:?}");
    }
    assert_eq!(fetcher.fetch("http://localhost/file").await, Err(FetchError::NotPublic));
    assert_eq!(n_requests.load(Ordering::SeqCst), 0);
}

/// Slow servers hold their own fetches up, and those that wait for a turn no longer than their time.
#[tokio::test]
async fn a_turn_is_waited_for_within_the_time() {
    let (at, n_requests) = server().await;
    let fetcher = Arc::new(Fetcher::new(FetchLimits { max_concurrent: 1, ..limits(&[at]) }).unwrap());
    let began = Instant::now();
    let slow = [(); 3].map(|()| {
        let fetcher = Arc::clone(&fetcher);
        tokio::spawn(async move { fetcher.fetch(&format!("http://{at}/slow")).await })
    });
    for fetch in slow {
        assert_eq!(fetch.await.unwrap(), Err(FetchError::TooSlow(1)));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(n_requests.load(Ordering::SeqCst) < 3);
    assert_eq!(fetcher.fetch(&format!("http://{at}/file")).await.unwrap(), "hello");
}

/// The part of the test below that runs where the system trusts its authority.
#[tokio::test]
#[ignore = "run by servers_of_https_are_known_by_their_authority"]
async fn over_https() {
    let at: SocketAddr = std::env::var("UNIPIC_TEST_SERVER").unwrap().parse().unwrap();
    let fetcher = Fetcher::new(limits(&[at])).unwrap();
    let fetched = fetcher.fetch(&format!("https://{at}/file")).await;
    match std::env::var("UNIPIC_TEST_TRUSTED").is_ok() {
        true => assert_eq!(fetched.unwrap(), "hello"),
        false => assert_eq!(fetched, Err(FetchError::Unreachable)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_https_are_known_by_their_authority() {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let accept = acceptor.accept(stream);
            tokio::spawn(async move {
                if let Ok(stream) = accept.await {
                    serve(stream, at).await;
                }
            });
        }
    });
    for (pem, is_trusted) in [(certified.cert.pem(), true), (other.cert.pem(), false)] {
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--ignored", "--exact", "over_https"]).env("UNIPIC_TEST_SERVER", at.to_string());
        again.env("SSL_CERT_FILE", &file).env_remove("SSL_CERT_DIR");
        if is_trusted {
            again.env("UNIPIC_TEST_TRUSTED", "1");
        }
        let ran = tokio::task::spawn_blocking(move || again.output()).await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && told.contains("1 passed"), "trusted {is_trusted}: {told}");
    }
}

/// Nothing that the environment says of proxies is followed: a proxy would go where no rule looks.
#[tokio::test]
#[ignore = "run by proxies_of_the_environment_are_not_used"]
async fn past_a_proxy() {
    let at: SocketAddr = std::env::var("UNIPIC_TEST_SERVER").unwrap().parse().unwrap();
    let fetcher = Fetcher::new(limits(&[at])).unwrap();
    assert_eq!(fetcher.fetch(&format!("http://{at}/file")).await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_are_not_used() {
    let (at, _) = server().await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = format!("http://{}", proxy.local_addr().unwrap());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--ignored", "--exact", "past_a_proxy"]).env("UNIPIC_TEST_SERVER", at.to_string());
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        again.env(name, &through);
    }
    let ran = tokio::task::spawn_blocking(move || again.output()).await.unwrap().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    let came: Result<(TcpStream, _), _> = tokio::time::timeout(Duration::from_millis(50), proxy.accept())
        .await
        .unwrap_or_else(|_| Err(std::io::Error::other("none")));
    assert!(came.is_err(), "the proxy was asked");
}
