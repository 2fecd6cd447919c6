//! The gateway and its services over mutual TLS, and its clients over TLS with a key.

#![allow(clippy::expect_used, clippy::panic)]

mod keyed;
#[path = "../../../shared/client/tests/pki/mod.rs"]
mod pki;
#[allow(dead_code)] // Its own server speaks no TLS.
mod services;
mod support;

use std::path::Path;
use std::sync::Arc;

use keyed::{entry, new_key};
use pki::{Authority, Pair};
use services::Fakes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, RootCertStore};
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use unipic_api::pb::decoder_server::DecoderServer;
use unipic_api::pb::synthesis_server::SynthesisServer;
use unipic_api::pb::understanding_encoder_server::UnderstandingEncoderServer;
use unipic_api::{ApiError, pb};
use unipic_client::{ApiKey, CallOptions, ClientTls, ClientTlsConfig, Endpoint, UniPicClient, connect_with};
use unipic_gateway::auth::{AuthConfig, NewKey};
use unipic_gateway::{Config, Gateway, ServerIdentities, run};
use unipic_measures::measured;
use unipic_serving::{
    ListenAddress, Listener, Ops, Problems, ServerConfig, ServerTlsConfig, Services, Validate, serve,
};
use unipic_telemetry::Metrics;

async fn listen() -> (Listener, Endpoint) {
    let listener = "127.0.0.1:0".parse::<ListenAddress>().expect("an address").bind().await.expect("binds");
    let endpoint = format!("https://{}", listener.address().expect("bound")).parse().expect("an endpoint");
    (listener, endpoint)
}

/// All three services at one address, for this client only. Their certificate names no host.
async fn start_services(ca: &Path, pair: &Pair, allowed: &str) -> (Endpoint, AbortOnDropHandle<()>) {
    let tls = ServerTlsConfig {
        certificate: Some(pair.certificate.clone()),
        key: Some(pair.key.clone()),
        client_ca: Some(ca.to_owned()),
        allowed: vec![allowed.parse().expect("an identity")],
        ..ServerTlsConfig::default()
    };
    let (listener, endpoint) = listen().await;
    let fakes = Fakes::default();
    let services = Services::new().await.add(SynthesisServer::new(fakes.clone())).await;
    let services =
        services.add(UnderstandingEncoderServer::new(fakes.clone())).await.add(DecoderServer::new(fakes)).await;
    services.readiness().ready().await;
    let serving = async move {
        let config = ServerConfig { tls, ..ServerConfig::default() };
        serve(listener, services, &config, std::future::pending()).await;
    };
    (endpoint, AbortOnDropHandle::new(tokio::spawn(serving)))
}

struct World {
    folder: tempfile::TempDir,
    authority: Authority,
    ca: std::path::PathBuf,
    key: NewKey,
}

impl World {
    fn new() -> Self {
        let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new("ours"));
        let ca = authority.file(folder.path(), "ca.crt");
        Self { folder, authority, ca, key: new_key() }
    }

    fn pair(&self, name: &str, names: &[&str]) -> Pair {
        self.authority.issue(self.folder.path(), name, names)
    }

    /// A gateway's configuration: TLS and keys in front, mutual TLS behind.
    fn config(&self, services: &Endpoint, decoder: &str) -> Config {
        let (front, back) = (self.pair("public", &["127.0.0.1"]), self.pair("gateway", &["spiffe://unipic/gateway"]));
        let tls = ServerTlsConfig {
            certificate: Some(front.certificate),
            key: Some(front.key),
            ..ServerTlsConfig::default()
        };
        let client_tls = ClientTlsConfig {
            ca: Some(self.ca.clone()),
            certificate: Some(back.certificate),
            key: Some(back.key),
            server_identity: Some("spiffe://unipic/*".parse().expect("an identity")),
        };
        let decoder = Some(decoder.parse().expect("an identity"));
        let endpoints = vec![services.clone()];
        let config = Config {
            tls,
            client_tls,
            server_identities: ServerIdentities { decoder, ..ServerIdentities::default() },
            auth: AuthConfig { keys: vec![entry("acme", &self.key, None)], ..AuthConfig::default() },
            understanding: endpoints.clone(),
            synthesis: endpoints.clone(),
            decoder: endpoints,
            ..Config::default()
        };
        let mut problems = Problems::default();
        config.validate(&mut problems);
        assert!(problems.found().is_empty(), "{problems:?}");
        config
    }

    /// Starts the gateway and makes a client of it.
    async fn gateway(&self, config: Config) -> (UniPicClient, AbortOnDropHandle<()>) {
        let (listener, endpoint) = listen().await;
        let serving = async move {
            run(config, listener, None, &Metrics::default(), Ops::default(), std::future::pending())
                .await
                .expect("endpoints are given");
        };
        let server = AbortOnDropHandle::new(tokio::spawn(serving));
        let tls = ClientTlsConfig { ca: Some(self.ca.clone()), ..ClientTlsConfig::default() };
        let tls = ClientTls::load(&tls).expect("good files");
        let client = UniPicClient::over(connect_with(&[endpoint], &tls).expect("an endpoint"));
        (client, server)
    }

    fn api_key(&self) -> ApiKey {
        ApiKey::new(&self.key.key).expect("a key")
    }
}

#[tokio::test]
async fn a_request_crosses_the_gateway_with_everything_encrypted() {
    let world = World::new();
    let all = world.pair("services", &["spiffe://unipic/decoder"]);
    let (services, _services) = start_services(&world.ca, &all, "spiffe://unipic/gateway").await;
    let (client, _gateway) = world.gateway(world.config(&services, "spiffe://unipic/decoder")).await;
    let error = client.get_model().await.expect_err("no key");
    assert!(matches!(error.api(), ApiError::Unauthenticated), "{error}");

    let patient = CallOptions { attempts: 100, ..CallOptions::default() };
    let client = client.with_api_key(world.api_key()).with_options(patient);
    client.get_model().await.expect("a model");
    let options = pb::ImageOptions { width: Some(64), height: Some(64), seed: Some(1), ..Default::default() };
    let request = pb::GenerateRequest { prompt: "a barn".to_owned(), options: Some(options), ..Default::default() };
    let events = client.generate(request).await.expect("drawn");
    let events: Vec<_> = futures::TryStreamExt::try_collect(events).await.expect("to the end");
    assert!(events.iter().any(|event| matches!(event.event, Some(pb::generate_response::Event::Image(_)))));
}

#[tokio::test]
async fn services_that_are_not_whom_the_gateway_expects_are_not_used() {
    let world = World::new();
    let all = world.pair("services", &["spiffe://unipic/decoder"]);
    // The services do not know this gateway; then the gateway does not know the decoder.
    for (allowed, decoder) in
        [("spiffe://unipic/other", "spiffe://unipic/decoder"), ("spiffe://unipic/*", "spiffe://x/y")]
    {
        let (services, _services) = start_services(&world.ca, &all, allowed).await;
        let (client, _gateway) = world.gateway(world.config(&services, decoder)).await;
        let hasty = CallOptions { attempts: 3, ..CallOptions::default() };
        let error = client.with_api_key(world.api_key()).with_options(hasty).get_model().await.expect_err("no backend");
        assert_eq!(error.code(), Code::Unavailable);
        // Whose certificate is wrong is not the public's affair.
        assert!(!error.to_string().contains("certificate"), "{error}");
    }
}

/// A client that speaks what browsers do: ours speaks gRPC only.
fn browser(ca: &Path, pair: &Pair) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("an authority");
    let certificate = CertificateDer::from_pem_file(&pair.certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
    let mut config = builder.with_client_auth_cert(vec![certificate], key).expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// The first line of the answer to one request, or `None` where the server hangs up.
async fn get_over_tls(browser: &TlsConnector, address: &str, head: &str) -> Option<String> {
    let tcp = TcpStream::connect(address).await.expect("connects");
    let name = "127.0.0.1".try_into().expect("a name");
    let mut stream = browser.connect(name, tcp).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = format!("GET {head}\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // However it ends: what came counts.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).lines().next().map(str::to_owned)
}

#[tokio::test]
async fn the_http_api_is_behind_the_same_certificates_and_keys() {
    let world = World::new();
    let front = world.pair("public", &["127.0.0.1"]);
    let tls = ServerTlsConfig {
        certificate: Some(front.certificate),
        key: Some(front.key),
        client_ca: Some(world.ca.clone()),
        allowed: vec!["spiffe://unipic/ops/*".parse().expect("an identity")],
        ..ServerTlsConfig::default()
    };
    let auth = AuthConfig { keys: vec![entry("acme", &world.key, None)], ..AuthConfig::default() };
    let config = Config { tls, auth, ..Config::default() };
    let gateway = Gateway::new(support::Fake::default(), config.clone());
    gateway.refresh_model().await.expect("the fakes fit each other");
    let ((grpc, _), (http, _)) = (listen().await, listen().await);
    let address = http.address().expect("bound").to_string();
    let serving =
        async move { gateway.serve(grpc, Some(http), Ops::default(), &config.server(), std::future::pending()).await };
    let _gateway = AbortOnDropHandle::new(tokio::spawn(serving));

    let mut n_refused = 0;
    let of = |stem: &str, identity: &str| browser(&world.ca, &world.pair(stem, &[identity]));
    let anna = of("anna", "spiffe://unipic/ops/anna");
    let asked = async |who: &TlsConnector, head: &str| get_over_tls(who, &address, head).await;
    assert_eq!(asked(&anna, "/healthz HTTP/1.1").await.as_deref(), Some("HTTP/1.1 200 OK"));
    assert_eq!(asked(&anna, "/v1/models HTTP/1.1").await.as_deref(), Some("HTTP/1.1 401 Unauthorized"));
    let with_key = format!("/v1/models HTTP/1.1\r\nAuthorization: Bearer {}", world.key.key);
    assert_eq!(asked(&anna, &with_key).await.as_deref(), Some("HTTP/1.1 200 OK"));
    // Another certificate of the same authority, and none of TLS at all.
    assert_eq!(asked(&of("gateway", "spiffe://unipic/gateway"), &with_key).await, None);
    n_refused += 1;
    let mut plain = TcpStream::connect(&address).await.expect("connects");
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sends");
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "it answered without TLS");
    n_refused += 1;
    measured!("browsers refused, of another identity and without TLS", n_refused);
}

#[test]
fn bad_settings_are_refused_by_key() {
    let world = World::new();
    let pair = world.pair("gateway", &["spiffe://unipic/gateway"]);
    let other = world.pair("other", &["spiffe://unipic/other"]);
    let nothing = world.folder.path().join("nothing");
    std::fs::write(&nothing, "").expect("written");
    let (certificate, key) = (format!("certificate = {:?}", pair.certificate), format!("key = {:?}", pair.key));
    let (ca, nothing) = (format!("{:?}", world.ca), format!("{nothing:?}"));
    let https = "understanding = ['https://a:1']\nsynthesis = ['https://a:1']\ndecoder = ['https://a:1']";
    let cases = [
        (format!("[tls]\n{certificate}"), "tls.key"),
        (format!("[tls]\n{key}"), "tls.certificate"),
        (format!("[tls]\ncertificate = '/nowhere/x.crt'\n{key}"), "tls.certificate"),
        (format!("[tls]\ncertificate = {nothing}\n{key}"), "tls.certificate"),
        (format!("[tls]\n{certificate}\nkey = {nothing}"), "tls.key"),
        // Somebody else's key.
        (format!("[tls]\n{certificate}\nkey = {:?}", other.key), "tls.certificate"),
        (format!("[tls]\nclient_ca = {ca}"), "tls.client_ca"),
        (format!("[tls]\n{certificate}\n{key}\nclient_ca = {nothing}"), "tls.client_ca"),
        (format!("[tls]\n{certificate}\n{key}\nallowed = ['spiffe://a/b']"), "tls.allowed"),
        (format!("[tls]\n{certificate}\n{key}\nclient_ca = {ca}\nallowed = ['gateway']"), "tls.allowed"),
        (
            format!("[tls]\n{certificate}\n{key}\nclient_ca = {ca}\n[tls.allowed_methods]\n'a.B/C' = []"),
            "tls.allowed_methods",
        ),
        (format!("[tls]\n{certificate}\n{key}\nreload_seconds = 0.0"), "tls.reload_seconds"),
        (format!("listen = 'unix:/tmp/x.sock'\n[tls]\n{certificate}\n{key}"), "tls.certificate"),
        (format!("[http]\nlisten = 'unix:/tmp/x.sock'\n[tls]\n{certificate}\n{key}"), "http.listen"),
        (
            format!(
                "[http]\nlisten = '127.0.0.1:1'\n[tls]\n{certificate}\n{key}\nclient_ca = {ca}\n\
                 [tls.allowed_methods]\n'unipic.v1.UniPic/Generate' = ['spiffe://a/b']"
            ),
            "tls.allowed_methods",
        ),
        (format!("[tls]\n{certificate}\n{key}\ncipher = 'x'"), "cipher"),
        (format!("{https}\n[client_tls]\nca = {nothing}"), "client_tls.ca"),
        (format!("{https}\n[client_tls]\n{certificate}"), "client_tls.key"),
        (format!("{https}\n[client_tls]\nserver_identity = 'not a name'"), "client_tls.server_identity"),
        (format!("{https}\n[server_identities]\ndecoder = 'spiffe://'"), "server_identities.decoder"),
        (format!("[client_tls]\nca = {ca}"), "decoder"),
        (
            format!("understanding = ['https+dns://a:1']\nsynthesis = ['dns:///a:1']\n[client_tls]\nca = {ca}"),
            "synthesis",
        ),
    ];
    for (toml, key) in cases {
        let provider = <figment::providers::Toml as figment::providers::Format>::string(&toml);
        let error = unipic_serving::config::load::<Config>(None, "UNIPIC_TEST_NONE_", provider).expect_err(&toml);
        assert!(error.to_string().contains(key), "{toml}: {error}");
    }
    let good = format!(
        "{https}\n[tls]\n{certificate}\n{key}\nclient_ca = {ca}\nallowed = ['spiffe://a/*']\n[client_tls]\nca = {ca}"
    );
    let provider = <figment::providers::Toml as figment::providers::Format>::string(&good);
    unipic_serving::config::load::<Config>(None, "UNIPIC_TEST_NONE_", provider).expect("good");
}
