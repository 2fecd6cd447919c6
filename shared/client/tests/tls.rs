//! Encrypted connections between a real server and a real client: who is let in, what the others are told, and that
//! certificates may change while calls are made.

#![allow(clippy::unwrap_used, clippy::panic)] // Helper functions of tests fail by panicking, as tests do.

mod pki;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::stream::{self, BoxStream, StreamExt};
use pki::{Authority, Pair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status, Streaming};
use unipic_api::pb::understanding_encoder_server::{UnderstandingEncoder, UnderstandingEncoderServer};
use unipic_api::pb::{
    EncodeSiglipRequest, EncodeSiglipResponse, GetUnderstandingInfoRequest, GetUnderstandingInfoResponse,
};
use unipic_api::{ApiError, Reason};
use unipic_client::{ClientTls, ClientTlsConfig, Connection, Endpoint, ServerIdentity, connect, connect_with};
use unipic_measures::measured;
use unipic_serving::{Drained, ListenAddress, PeerIdentity, ServerConfig, ServerTlsConfig, Services, serve};

const SERVER: &str = "spiffe://unipic/understanding";
const GATEWAY: &str = "spiffe://unipic/gateway";

/// Tells who called.
struct Encoder;

#[tonic::async_trait]
impl UnderstandingEncoder for Encoder {
    type EncodeSiglipStream = BoxStream<'static, Result<EncodeSiglipResponse, Status>>;

    async fn encode_siglip(
        &self,
        _: Request<Streaming<EncodeSiglipRequest>>,
    ) -> Result<Response<Self::EncodeSiglipStream>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn get_understanding_info(
        &self,
        request: Request<GetUnderstandingInfoRequest>,
    ) -> Result<Response<GetUnderstandingInfoResponse>, Status> {
        let peer = request.extensions().get::<PeerIdentity>();
        let notices = peer.into_iter().flat_map(PeerIdentity::uris).map(str::to_owned).collect();
        Ok(Response::new(GetUnderstandingInfoResponse { notices, ..Default::default() }))
    }
}

struct Server {
    address: String,
    task: JoinHandle<Drained>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start(tls: ServerTlsConfig) -> Server {
    let listener = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().await.unwrap();
    let address = listener.address().unwrap().to_string();
    let services = Services::new().await.add(UnderstandingEncoderServer::new(Encoder)).await;
    services.readiness().ready().await;
    let config = ServerConfig { tls, ..ServerConfig::default() };
    let task = tokio::spawn(async move { serve(listener, services, &config, std::future::pending()).await });
    Server { address, task }
}

impl Server {
    fn endpoint(&self, scheme: &str) -> Endpoint {
        format!("{scheme}://{}", self.address).parse().unwrap()
    }

    /// A new connection, and one call over it: the caller's identities, or the error.
    async fn ask(&self, tls: &ClientTls) -> Result<Vec<String>, ApiError> {
        ask(connect_with(&[self.endpoint("https")], tls).unwrap()).await
    }
}

async fn ask(connection: Connection) -> Result<Vec<String>, ApiError> {
    let answer = unipic_client::understanding(connection).get_understanding_info(GetUnderstandingInfoRequest {}).await;
    answer.map(|answer| answer.into_inner().notices).map_err(|status| ApiError::from_status(&status))
}

fn server_tls(pair: &Pair, client_ca: Option<&Path>, allowed: &[&str]) -> ServerTlsConfig {
    ServerTlsConfig {
        certificate: Some(pair.certificate.clone()),
        key: Some(pair.key.clone()),
        client_ca: client_ca.map(Path::to_owned),
        allowed: allowed.iter().map(|identity| identity.parse().unwrap()).collect(),
        reload_seconds: 0.05,
        ..ServerTlsConfig::default()
    }
}

fn client_tls(ca: &Path, pair: Option<&Pair>) -> ClientTlsConfig {
    ClientTlsConfig {
        ca: Some(ca.to_owned()),
        certificate: pair.map(|pair| pair.certificate.clone()),
        key: pair.map(|pair| pair.key.clone()),
        server_identity: None,
    }
}

fn client(ca: &Path, pair: Option<&Pair>) -> ClientTls {
    ClientTls::load(&client_tls(ca, pair)).unwrap()
}

fn reason(answer: Result<Vec<String>, ApiError>) -> Reason {
    match answer.unwrap_err() {
        ApiError::Unavailable { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_clients_of_the_authority_with_a_known_identity_are_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = ours.file(folder.path(), "ca.crt");
    let server = start(server_tls(
        &ours.issue(folder.path(), "server", &["127.0.0.1", SERVER]),
        Some(&ca),
        &[GATEWAY, "spiffe://unipic/ops/*"],
    ))
    .await;
    let known = [GATEWAY, "spiffe://unipic/ops/anna"];
    for identity in known {
        let pair = ours.issue(folder.path(), "client", &[identity]);
        assert_eq!(server.ask(&client(&ca, Some(&pair))).await.unwrap(), [identity]);
    }

    let foreign = theirs.issue(folder.path(), "foreign", &[GATEWAY]);
    let expired = ours.issue_expired(folder.path(), "expired", &[GATEWAY]);
    let untrusted = [None, Some(&foreign), Some(&expired)];
    for pair in untrusted {
        assert_eq!(reason(server.ask(&client(&ca, pair)).await), Reason::ClientCertificateRefused);
    }

    let unknown = ["spiffe://unipic/decoder", "spiffe://unipic/gateway2", "gateway"];
    for identity in unknown {
        let pair = ours.issue(folder.path(), "other", &[identity]);
        let error = server.ask(&client(&ca, Some(&pair))).await.unwrap_err();
        assert!(matches!(error, ApiError::PermissionDenied(_)), "{identity}: {error:?}");
    }
    measured!("clients let in", known.len());
    measured!("refused with no, a foreign and an expired certificate", untrusted.len());
    measured!("refused with another identity", unknown.len());
}

#[tokio::test]
async fn a_method_may_have_callers_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let ca = ours.file(folder.path(), "ca.crt");
    let mut tls = server_tls(&ours.issue(folder.path(), "server", &["127.0.0.1"]), Some(&ca), &[GATEWAY]);
    let info = "unipic.v1.UnderstandingEncoder/GetUnderstandingInfo".to_owned();
    tls.allowed_methods.insert(info, vec!["spiffe://unipic/ops/*".parse().unwrap()]);
    let server = start(tls).await;
    let gateway = client(&ca, Some(&ours.issue(folder.path(), "gateway", &[GATEWAY])));
    let anna = client(&ca, Some(&ours.issue(folder.path(), "anna", &["spiffe://unipic/ops/anna"])));
    assert!(matches!(server.ask(&gateway).await, Err(ApiError::PermissionDenied(_))));
    server.ask(&anna).await.unwrap();
    let encode = async |tls: &ClientTls| {
        let mut client = unipic_client::understanding(connect_with(&[server.endpoint("https")], tls).unwrap());
        client.encode_siglip(stream::iter([EncodeSiglipRequest::default()])).await.map(drop)
    };
    encode(&gateway).await.unwrap();
    assert_eq!(encode(&anna).await.unwrap_err().code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn a_server_that_is_not_who_it_must_be_is_not_called() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (ca, other_ca) = (ours.file(folder.path(), "ca.crt"), theirs.file(folder.path(), "other-ca.crt"));
    let server = start(server_tls(&ours.issue(folder.path(), "server", &["127.0.0.1", SERVER]), None, &[])).await;
    // Without a client authority nobody is asked for a certificate.
    assert!(server.ask(&client(&ca, None)).await.unwrap().is_empty());
    assert_eq!(reason(server.ask(&client(&other_ca, None)).await), Reason::ServerUntrusted);

    let expecting = |identity: &str| client(&ca, None).expecting(Some(&identity.parse::<ServerIdentity>().unwrap()));
    let (right, wrong) = (
        [SERVER, "spiffe://unipic/*", "127.0.0.1"],
        ["spiffe://unipic/decoder", "spiffe://other/*", "understanding.svc", "127.0.0.2"],
    );
    for right in right {
        server.ask(&expecting(right)).await.unwrap();
    }
    for wrong in wrong {
        assert_eq!(reason(server.ask(&expecting(wrong)).await), Reason::ServerNameMismatch, "{wrong}");
    }
    let strange = client(&other_ca, None).expecting(Some(&SERVER.parse().unwrap()));
    assert_eq!(reason(server.ask(&strange).await), Reason::ServerUntrusted);

    let expired = start(server_tls(&ours.issue_expired(folder.path(), "expired", &["127.0.0.1"]), None, &[])).await;
    assert_eq!(reason(expired.ask(&client(&ca, None)).await), Reason::ServerCertificateExpired);
    // Its identity does not make up for its age.
    let old = start(server_tls(&ours.issue_expired(folder.path(), "old", &[SERVER]), None, &[])).await;
    assert_eq!(reason(old.ask(&expecting(SERVER)).await), Reason::ServerCertificateExpired);
    measured!("servers called", right.len());
    measured!("not called for another identity", wrong.len());
}

#[tokio::test]
async fn one_side_alone_does_not_encrypt() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let ca = ours.file(folder.path(), "ca.crt");
    let plain = start(ServerTlsConfig::default()).await;
    assert_eq!(reason(plain.ask(&client(&ca, None)).await), Reason::TlsFailed);
    let encrypted = start(server_tls(&ours.issue(folder.path(), "server", &["127.0.0.1"]), None, &[])).await;
    let answer = ask(connect(&[encrypted.endpoint("http")]).unwrap()).await;
    assert_eq!(reason(answer), Reason::BackendUnavailable);
}

#[tokio::test]
async fn a_replica_that_cannot_be_trusted_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = ours.file(folder.path(), "ca.crt");
    let good = start(server_tls(&ours.issue(folder.path(), "good", &["127.0.0.1"]), None, &[])).await;
    let bad = start(server_tls(&theirs.issue(folder.path(), "bad", &["127.0.0.1"]), None, &[])).await;
    let endpoints = [bad.endpoint("https"), good.endpoint("https")];
    let connection = connect_with(&endpoints, &client(&ca, None)).unwrap();
    assert_eq!(reason(ask(connection.clone()).await), Reason::ServerUntrusted);
    ask(connection).await.unwrap();
}

#[tokio::test]
async fn slow_handshakes_are_closed_and_hold_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let ca = ours.file(folder.path(), "ca.crt");
    let server = start(server_tls(&ours.issue(folder.path(), "server", &["127.0.0.1"]), None, &[])).await;
    // Nothing, the beginning of a handshake, and bytes that are none.
    let began = Instant::now();
    let slow =
        [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"].map(async |sent: &[u8]| {
            let mut peer = tokio::net::TcpStream::connect(&server.address).await.unwrap();
            peer.write_all(sent).await.unwrap();
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(Duration::from_secs(10), peer.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "still open after 10 s with {} bytes sent", sent.len());
        });
    let trusted = client(&ca, None);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.ask(&trusted).await.unwrap();
    };
    futures::future::join(futures::future::join_all(slow), meanwhile).await;
    measured!("closed after, s", format!("{:.1}", began.elapsed().as_secs_f64()));
}

#[tokio::test]
async fn a_server_found_by_a_name_is_held_to_the_name_and_its_health_is_watched_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let ca = ours.file(folder.path(), "ca.crt");
    let trusted = client(&ca, None);
    let named = start(server_tls(&ours.issue(folder.path(), "named", &["localhost"]), None, &[])).await;
    // The name may stand for ::1 as well, where nobody listens.
    let by = |server: &Server, form: &str| -> Endpoint {
        let port = server.address.rsplit_once(':').unwrap().1;
        format!("{form}localhost:{port}").parse().unwrap()
    };
    for form in ["https+dns://", "https://"] {
        let connection = connect_with(&[by(&named, form)], &trusted).unwrap();
        until("the name is called", async || ask(connection.clone()).await.is_ok()).await;
    }
    let plain = connect(&[by(&named, "dns:///")]).unwrap();
    assert_eq!(reason(ask(plain).await), Reason::BackendUnavailable);

    // The address that the name stands for does not count.
    let numbered = start(server_tls(&ours.issue(folder.path(), "numbered", &["127.0.0.1"]), None, &[])).await;
    let connection = connect_with(&[by(&numbered, "https+dns://")], &trusted).unwrap();
    until("the name is found wrong", async || reason(ask(connection.clone()).await) == Reason::ServerNameMismatch)
        .await;
    // Unless it is said who it is.
    let is_expected = trusted.expecting(Some(&"127.0.0.1".parse::<ServerIdentity>().unwrap()));
    let connection = connect_with(&[by(&numbered, "https+dns://")], &is_expected).unwrap();
    until("the identity is right", async || ask(connection.clone()).await.is_ok()).await;
}

/// Files that a server and its clients live on, and callers that never stop.
struct Rotation {
    folder: TempDir,
    server_ca: std::path::PathBuf,
    client_ca: std::path::PathBuf,
    server: Server,
    calls: Arc<Vec<AtomicUsize>>,
    failed: Arc<Mutex<Vec<ApiError>>>,
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
}

impl Rotation {
    async fn start(first: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (server_ca, client_ca) = (first.file(path, "server-ca.crt"), first.file(path, "client-ca.crt"));
        let pair = first.issue(path, "server", &["127.0.0.1"]);
        let server = start(server_tls(&pair, Some(&client_ca), &[GATEWAY])).await;
        let shared = client(&server_ca, Some(&first.issue(path, "client", &[GATEWAY])));
        let calls = Arc::new((0..4).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
        let (failed, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let caller = |index: usize| {
            let (endpoint, tls) = (server.endpoint("https"), shared.clone());
            let (calls, failed, stop) = (calls.clone(), failed.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // Every call over a connection of its own: each is a handshake.
                    if let Err(error) = ask(connect_with(std::slice::from_ref(&endpoint), &tls).unwrap()).await {
                        failed.lock().unwrap().push(error);
                    }
                    calls[index].fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let callers = (0..4).map(caller).collect();
        Self { folder, server_ca, client_ca, server, calls, failed, stop, callers }
    }

    /// Waits until every caller has made two more calls: then none is on what was read before.
    async fn calls_go_on(&self) {
        let before: Vec<_> = self.calls.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let passed = || self.calls.iter().zip(&before).all(|(n, before)| n.load(Ordering::Relaxed) >= before + 2);
        until("the callers go on", async || passed()).await;
    }

    /// How many calls were made, and how many of them failed.
    async fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
        let failed = self.failed.lock().unwrap();
        for error in failed.iter() {
            println!("{error:?}");
        }
        (self.calls.iter().map(|n| n.load(Ordering::Relaxed)).sum(), failed.len())
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authorities_and_certificates_change_under_load_without_a_failed_call() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let rotation = Rotation::start(&first).await;
    let (path, server) = (rotation.folder.path(), &rotation.server);
    let long_lived = connect_with(
        &[server.endpoint("https")],
        &client(
            &rotation.server_ca,
            Some(&Pair { certificate: path.join("client.crt"), key: path.join("client.key") }),
        ),
    )
    .unwrap();
    ask(long_lived.clone()).await.unwrap();
    rotation.calls_go_on().await;

    // Both sides trust both authorities.
    let both = format!("{}{}", first.pem, second.pem);
    std::fs::write(&rotation.server_ca, &both).unwrap();
    std::fs::write(&rotation.client_ca, &both).unwrap();
    let of_second = second.issue(path, "probe", &[GATEWAY]);
    let trusting_first = client(&first.file(path, "first.crt"), Some(&of_second));
    until("the server trusts the second authority", async || server.ask(&trusting_first).await.is_ok()).await;
    rotation.calls_go_on().await;

    // The server, then the clients, have certificates of the second.
    second.issue(path, "server", &["127.0.0.1"]);
    let second_ca = second.file(path, "second.crt");
    let trusting_second = client(&second_ca, Some(&of_second));
    until("the server is the second's", async || server.ask(&trusting_second).await.is_ok()).await;
    second.issue(path, "client", &[GATEWAY]);
    rotation.calls_go_on().await;

    // The first authority is gone.
    std::fs::write(&rotation.server_ca, &second.pem).unwrap();
    std::fs::write(&rotation.client_ca, &second.pem).unwrap();
    let of_first = client(&second_ca, Some(&first.issue(path, "late", &[GATEWAY])));
    until("the first authority is nobody", async || server.ask(&of_first).await.is_err()).await;
    rotation.calls_go_on().await;

    // Bad files change nothing, on either side.
    std::fs::write(path.join("server.crt"), "no certificate").unwrap();
    std::fs::write(&rotation.server_ca, "").unwrap();
    std::fs::remove_file(path.join("client.key")).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    rotation.calls_go_on().await;

    // A connection from before all this goes on.
    assert_eq!(ask(long_lived).await.unwrap(), [GATEWAY]);
    let (n_calls, n_failed) = rotation.end().await;
    measured!("handshakes and calls during the rotation", n_calls);
    measured!("failed", n_failed);
    assert_eq!(n_failed, 0);
    assert!(n_calls >= 4 * 12);
}

#[tokio::test]
async fn a_server_whose_files_went_bad_before_its_start_lets_nobody_in_until_they_are_good() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let ca = ours.file(folder.path(), "ca.crt");
    let pair = ours.issue(folder.path(), "server", &["127.0.0.1"]);
    let good = std::fs::read(&pair.key).unwrap();
    std::fs::write(&pair.key, "").unwrap();
    let server = start(server_tls(&pair, None, &[])).await;
    let tls = client(&ca, None);
    assert_eq!(reason(server.ask(&tls).await), Reason::TlsFailed);
    assert!(ask(connect(&[server.endpoint("http")]).unwrap()).await.is_err(), "it fell back to no TLS");
    std::fs::write(&pair.key, good).unwrap();
    until("the server is up", async || server.ask(&tls).await.is_ok()).await;
}
