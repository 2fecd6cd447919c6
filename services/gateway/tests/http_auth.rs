//! Keys before the HTTP API: what needs one, and whose quota a request counts against.

#![allow(clippy::expect_used, clippy::panic)]

mod keyed;
mod support;
mod web;

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use keyed::{entry, new_key};
use serde_json::json;
use support::Fake;
use tonic::Code;
use tonic::metadata::MetadataValue;
use unipic_api::pb;
use unipic_api::pb::uni_pic_client::UniPicClient;
use unipic_gateway::auth::{AuthConfig, KeyConfig, NewKey};
use unipic_gateway::{Config, Gateway, QuotaConfig, TenantsConfig};
use unipic_measures::measured;
use unipic_serving::{ListenAddress, Services, serve};
use web::{Answer, get, json_request, send};

async fn gateway(keys: Vec<KeyConfig>, tenants: TenantsConfig) -> Gateway<Fake> {
    let config = Config { auth: AuthConfig { keys, open_reflection: false }, tenants, ..Config::default() };
    let gateway = Gateway::new(Fake::default(), config);
    gateway.refresh_model().await.expect("the fakes fit each other");
    gateway
}

fn ask(method: &str, path: &str, header: Option<(&str, String)>) -> Request<Body> {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
    let mut request = Request::builder().method(method).uri(path);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    request.body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn every_route_needs_a_key_but_the_probes_and_the_page() {
    let key = new_key();
    let gateway = gateway(vec![entry("acme", &key, None)], TenantsConfig::default()).await;
    let document = send(&gateway, ask("GET", "/openapi.json", Some(("x-api-key", key.key.clone())))).await.json();
    let mut routes: Vec<(String, String)> = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let methods = operations.as_object().expect("operations").keys();
        routes.extend(methods.map(|method| (method.clone(), path.replace("{model}", "unipic-h64-64px"))));
    }
    assert!(routes.len() >= 8, "{routes:?}");
    // What there is not, what is near an open path, and methods that a path does not take.
    for (method, path) in [
        ("get", "/metrics"),
        ("get", "/v1"),
        ("get", "/healthz/"),
        ("get", "//healthz"),
        ("get", "/HEALTHZ"),
        ("get", "/healthz/../v1/models"),
        ("get", "/%68ealthz"),
        ("delete", "/v1/models"),
        ("head", "/v1/models"),
        ("options", "/v1/images/generations"),
    ] {
        routes.push((method.to_owned(), path.to_owned()));
    }
    let open = ["/healthz", "/readyz"];
    let mut refused = 0;
    for (method, path) in &routes {
        let is_open = open.contains(&path.as_str());
        let wrong = [None, Some(("authorization", "Bearer wrong".to_owned())), Some(("x-api-key", "wrong".to_owned()))];
        for header in wrong {
            let answer = send(&gateway, ask(method, path, header)).await;
            assert_eq!(answer.status == StatusCode::UNAUTHORIZED, !is_open, "{method} {path}: {answer:?}");
            refused += usize::from(answer.status == StatusCode::UNAUTHORIZED);
            if !is_open && method != "head" {
                answer.blamed();
                let error = &answer.json()["error"];
                assert_eq!(
                    (&error["type"], &error["code"]),
                    (&json!("authentication_error"), &json!("invalid_api_key"))
                );
                assert_eq!(answer.header(axum::http::header::WWW_AUTHENTICATE), "Bearer");
            }
        }
        for header in [("authorization", format!("Bearer {}", key.key)), ("x-api-key", key.key.clone())] {
            let answer = send(&gateway, ask(method, path, Some(header))).await;
            assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
    }
    let page = ["/", "/app.js", "/js/api.js", "/css/composer.css"];
    for path in page {
        assert_eq!(get(&gateway, path).await.status, StatusCode::OK, "{path}");
    }
    // Each was asked without a key and with two wrong ones.
    measured!("routes refused", refused / 3);
    measured!("routes open, the page aside", routes.len() - refused / 3);
    measured!("which", open.join(" "));
    measured!("files of the page tried", page.len());
}

fn draw(key: &NewKey) -> Request<Body> {
    let mut request = json_request("/v1/images/generations", &json!({"prompt": "a barn", "iterations": 1}));
    let bearer = format!("Bearer {}", key.key).parse().expect("a header");
    request.headers_mut().insert("authorization", bearer);
    request
}

/// A request by gRPC to the end: its code.
async fn draw_by_grpc(channel: &tonic::transport::Channel, key: &NewKey) -> Code {
    let options = pb::ImageOptions { iterations: Some(1), ..Default::default() };
    let message = pb::GenerateRequest { prompt: "a barn".to_owned(), options: Some(options), ..Default::default() };
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("x-api-key", MetadataValue::try_from(&key.key).expect("a key"));
    match UniPicClient::new(channel.clone()).generate(request).await {
        Err(status) => status.code(),
        Ok(response) => {
            let mut events = response.into_inner();
            loop {
                match events.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Code::Ok,
                    Err(status) => return status.code(),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_request_counts_against_the_quota_of_its_keys_tenant_by_either_way() {
    let (acme, next, zeta) = (new_key(), new_key(), new_key());
    let keys = vec![entry("acme", &acme, None), entry("acme", &next, None), entry("zeta", &zeta, None)];
    // One picture, then none for a quarter of an hour.
    let quota = QuotaConfig { requests_per_second: Some(1e-3), ..QuotaConfig::default() };
    for is_http_first in [true, false] {
        let named = ["acme", "zeta"].map(|name| (name.to_owned(), quota.clone()));
        let tenants = TenantsConfig { named: BTreeMap::from(named), default: QuotaConfig::default() };
        let gateway = gateway(keys.clone(), tenants).await;
        let listener = "127.0.0.1:0".parse::<ListenAddress>().expect("an address").bind().await.expect("binds");
        let address = format!("http://{}", listener.address().expect("bound"));
        let services = Services::new().await.add(gateway.service()).await;
        let services = services.guarded_by(std::sync::Arc::new(gateway.keys()));
        services.readiness().ready().await;
        let config = unipic_serving::ServerConfig::default();
        let serving = tokio::spawn(async move { serve(listener, services, &config, std::future::pending()).await });
        let endpoint = tonic::transport::Endpoint::from_shared(address).expect("an address");
        let channel = endpoint.connect().await.expect("connects");
        let by_http = async |key: &NewKey| -> Answer { send(&gateway, draw(key)).await };
        match is_http_first {
            true => assert_eq!(by_http(&acme).await.status, StatusCode::OK),
            false => assert_eq!(draw_by_grpc(&channel, &acme).await, Code::Ok),
        }
        // Used up by either key of the tenant and either way; the other tenant's is whole.
        for key in [&acme, &next] {
            let refused = by_http(key).await;
            assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
            assert_eq!(refused.json()["error"]["code"], "quota_exceeded");
            assert_eq!(draw_by_grpc(&channel, key).await, Code::ResourceExhausted);
        }
        match is_http_first {
            true => assert_eq!(draw_by_grpc(&channel, &zeta).await, Code::Ok),
            false => assert_eq!(by_http(&zeta).await.status, StatusCode::OK),
        }
        serving.abort();
    }
}
