//! Keys before the gateway: whoever has none is let in nowhere.

#![allow(clippy::expect_used, clippy::panic)]

mod keyed;
mod support;

use std::collections::BTreeSet;

use figment::providers::{Format, Toml};
use keyed::{call, entry, new_key, start};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use unipic_api::ApiError;
use unipic_client::{ApiKey, UniPicClient};
use unipic_gateway::Config;
use unipic_measures::measured;

fn with_key(client: &UniPicClient, key: &str) -> UniPicClient {
    client.clone().with_api_key(ApiKey::new(key).expect("a key"))
}

/// Every method of every service in our descriptors, of health and of reflection, as paths.
fn every_method() -> BTreeSet<String> {
    let sets = [
        unipic_api::pb::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut paths = BTreeSet::new();
    for set in sets {
        for file in FileDescriptorSet::decode(set).expect("descriptors").file {
            for service in &file.service {
                let methods = service.method.iter();
                paths.extend(methods.map(|m| format!("/{}.{}/{}", file.package(), service.name(), m.name())));
            }
        }
    }
    paths
}

#[tokio::test]
async fn every_method_needs_a_key_but_a_closed_list() {
    let key = new_key();
    let closed = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];
    let reflection =
        ["v1", "v1alpha"].map(|version| format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"));
    let reflection = [reflection[0].as_str(), reflection[1].as_str()];
    for open_reflection in [false, true] {
        let gateway = start(vec![entry("acme", &key, None)], open_reflection).await;
        let channel = gateway.channel().await;
        let methods = every_method();
        for known in [
            "/unipic.v1.UniPic/Generate",
            "/unipic.v1.Decoder/Session",
            "/inference.GRPCInferenceService/ServerLive",
            "/inference.GRPCInferenceService/ModelInfer",
            closed[0],
            reflection[0],
            reflection[1],
        ] {
            assert!(methods.contains(known), "{known} is missing among {methods:?}");
        }
        let strange = ["/", "/unipic.v1.UniPic", "/unipic.v1.UniPic/Draw", "/unipic.v2.UniPic/Generate", "/metrics"];
        let (mut refused, mut open) = (BTreeSet::new(), BTreeSet::new());
        // Nearly an open one.
        let near = ["/grpc.health.v1.Health/Check/", "/grpc.health.v1.Health/../../unipic.v1.UniPic/Generate"];
        let near = near.into_iter().chain(["/grpc.health.v1.health/Check", "//grpc.health.v1.Health/Check"]);
        for path in methods.iter().map(String::as_str).chain(strange).chain(near) {
            let is_open = closed.contains(&path) || (open_reflection && reflection.contains(&path));
            let bearer = format!("Bearer {}", key.key);
            let wrong = [&[][..], &[("authorization", "Bearer wrong")], &[("x-api-key", "wrong")]];
            for headers in wrong {
                let status = call(&channel, path, headers).await;
                let is_refused = status.as_ref().is_some_and(|status| status.code() == Code::Unauthenticated);
                assert_eq!(is_refused, !is_open, "{path} with {headers:?}: {status:?}");
                if is_refused {
                    refused.insert(path)
                } else {
                    open.insert(path)
                };
            }
            for headers in [&[("authorization", bearer.as_str())], &[("x-api-key", key.key.as_str())]] {
                let status = call(&channel, path, headers).await;
                let is_refused = status.as_ref().is_some_and(|status| status.code() == Code::Unauthenticated);
                assert!(!is_refused, "{path} is refused with the right key");
            }
        }
        let described = refused.iter().filter(|path| methods.contains(**path)).count();
        match open_reflection {
            false => {
                measured!("methods refused", described);
                measured!("other paths refused", refused.len() - described);
                measured!("methods open", open.len());
                measured!("which", open.into_iter().collect::<Vec<_>>().join(" "));
            }
            true => measured!("methods open where reflection is, too", open.len()),
        }
    }
}

#[tokio::test]
async fn keys_let_in_until_their_time_is_over() {
    let (old, new, ended, other) = (new_key(), new_key(), new_key(), new_key());
    let keys = vec![
        entry("acme", &old, Some(3600)),
        entry("acme", &new, None),
        entry("acme", &ended, Some(-1)),
        entry("zeta", &other, None),
    ];
    let gateway = start(keys, false).await;
    let client = gateway.client();
    for key in [&old, &new, &other] {
        with_key(&client, &key.key).get_model().await.expect("let in");
        let request = unipic_api::pb::GenerateRequest { prompt: "a barn".to_owned(), ..Default::default() };
        with_key(&client, &key.key).generate(request).await.expect("let in");
    }
    let stranger = new_key();
    for client in [client.clone(), with_key(&client, &ended.key), with_key(&client, &stranger.key)] {
        let error = client.get_model().await.expect_err("refused");
        assert!(matches!(error.api(), ApiError::Unauthenticated), "{error}");
        let details = tonic_types::StatusExt::get_error_details(error.status());
        assert_eq!(details.error_info().expect("typed").reason, "NO_CREDENTIAL");
    }
    let mut health = HealthClient::new(gateway.channel().await);
    health.check(HealthCheckRequest::default()).await.expect("health needs no key");
}

#[tokio::test]
async fn without_keys_everybody_is_let_in() {
    let gateway = start(Vec::new(), false).await;
    gateway.client().get_model().await.expect("let in");
    // A key that nobody asks for does no harm.
    with_key(&gateway.client(), "any").get_model().await.expect("let in");
}

fn load(toml: &str) -> Result<Config, unipic_serving::ConfigError> {
    unipic_serving::config::load(None, "UNIPIC_TEST_NONE_", Toml::string(toml))
}

#[test]
fn bad_keys_are_refused_by_name_and_never_repeated() {
    let secret = "unipic_5ec4e7";
    let good = "0".repeat(64);
    let cases = [
        ("[auth]\nkeys = 'SECRET'".to_owned(), "auth.keys"),
        ("auth = 'SECRET'".to_owned(), "auth"),
        ("[auth]\nkeys = ['SECRET']".to_owned(), "auth.keys"),
        ("[[auth.keys]]\ntenant = 'a'".to_owned(), "sha256"),
        ("[[auth.keys]]\ntenant = 'a'\nkey = 'SECRET'\nsha256 = ''".to_owned(), "key"),
        ("[[auth.keys]]\ntenant = 'a'\nsha256 = 'SECRET'".to_owned(), "auth.keys.0.sha256"),
        ("[[auth.keys]]\ntenant = 'a'\nsha256 = ['SECRET']".to_owned(), "auth.keys"),
        (format!("[[auth.keys]]\ntenant = ''\nsha256 = '{good}'"), "auth.keys.0.tenant"),
        (format!("[[auth.keys]]\ntenant = 'a b'\nsha256 = '{good}'"), "auth.keys.0.tenant"),
        (format!("[[auth.keys]]\ntenant = 'a'\nsha256 = '{}+f'", &good[2..]), "auth.keys.0.sha256"),
        (format!("[[auth.keys]]\ntenant = 'a'\nsha256 = '{good}'\nnot_after = 'soon'"), "auth.keys.0.not_after"),
        (
            format!("[auth]\nopen_reflection = 'SECRET'\nkeys = [{{ tenant = 'a', sha256 = '{good}' }}]"),
            "open_reflection",
        ),
    ];
    let mut n_seen = 0;
    for (toml, key) in &cases {
        let error = load(&toml.replace("SECRET", secret)).expect_err(toml).to_string();
        assert!(error.contains(key), "{toml}: {error}");
        n_seen += error.matches("5ec4e7").count();
    }
    measured!("configurations with a secret refused", cases.len());
    measured!("sightings", n_seen);
    assert_eq!(n_seen, 0);
}

#[test]
fn a_tenant_has_two_valid_keys_at_most_and_a_key_one_tenant() {
    let of = |entries: &[(&str, char, &str)]| {
        let mut toml = String::new();
        for (tenant, digit, not_after) in entries {
            let sha256 = digit.to_string().repeat(64);
            toml += &format!("[[auth.keys]]\ntenant = '{tenant}'\nsha256 = '{sha256}'\nnot_after = '{not_after}'\n");
        }
        load(&toml)
    };
    let (ever, over) = ("2999-01-01T00:00:00Z", "2001-01-01T00:00:00Z");
    of(&[("a", '1', ever), ("a", '2', ever), ("a", '3', over), ("b", '4', ever)]).expect("two each");
    let error = of(&[("a", '1', ever), ("a", '2', ever), ("a", '3', ever)]).expect_err("three").to_string();
    assert!(error.contains("auth.keys") && error.contains("\"a\""), "{error}");
    let error = of(&[("a", '1', ever), ("b", '1', ever)]).expect_err("one key, two tenants").to_string();
    assert!(error.contains("auth.keys.1.sha256"), "{error}");
}
