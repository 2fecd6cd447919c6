//! `/openapi.json` against the server: what it says is taken, and what it promises of answers.

#![allow(clippy::expect_used, clippy::panic)]

mod support;
mod web;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use support::{Script, gateway, png, with_config};
use unipic_gateway::{Config, HttpConfig};
use web::{Answer, form_request, get, json_request, post, send};

/// A value that a field's schema does not allow.
fn wrong_value(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("integer" | "number") => json!("x"),
        Some("string" | "boolean") => json!(7),
        _ => json!("none of these"),
    }
}

#[tokio::test]
async fn the_description_names_exactly_what_is_taken() {
    let (gateway, _) = gateway(Script::default()).await;
    let document = get(&gateway, "/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    for (path, operations) in paths {
        for method in operations.as_object().expect("operations").keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let path = path.replace("{model}", "unipic-h64-64px");
            let request = Request::builder().method(method).uri(&path).body(Body::empty()).expect("a request");
            let status = send(&gateway, request).await.status;
            assert!(!matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED), "{path}: {status}");
        }
    }
    let conversation = json!([{"role": "user", "content": "Hi"}]);
    for (path, good) in [
        ("/v1/images/generations", json!({"prompt": "a", "iterations": 1})),
        ("/v1/chat/completions", json!({"messages": conversation})),
    ] {
        let schema = &paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let properties = schema["properties"].as_object().expect("properties");
        for (name, schema) in properties {
            let is_ignored = schema["description"].as_str().expect("a text").starts_with("Accepted and ignored.");
            let mut request = good.clone();
            request[name] = wrong_value(schema);
            let answer = post(&gateway, path, &request).await;
            // Another string is a right type for a model's name and for a stop.
            let is_fine = is_ignored || name == "stop";
            assert_eq!(answer.status.is_success(), is_fine, "{path} {name}: {answer:?}");
            assert!(is_fine || answer.blamed().0 == *name, "{path} {name}: {answer:?}");
        }
        let mut request = good.clone();
        request["not_described"] = json!(1);
        assert_eq!(post(&gateway, path, &request).await.blamed().0, "not_described");
    }
    let schema = &paths["/v1/images/edits"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"];
    let file = png(16, 16);
    for (name, schema) in schema["properties"].as_object().expect("properties") {
        let is_ignored = schema["description"].as_str().expect("a text").starts_with("Accepted and ignored.");
        // In a form everything is a text, so a prompt cannot have the wrong type.
        if ["image", "prompt", "negative_prompt"].contains(&name.as_str()) {
            continue;
        }
        let parts: [web::Part<'_>; 3] = [("image", &file), ("prompt", b"a"), (name, b"none of these")];
        let answer = send(&gateway, form_request("/v1/images/edits", &parts)).await;
        assert_eq!(answer.status.is_success(), is_ignored, "{name}: {answer:?}");
        assert!(is_ignored || answer.blamed().0 == *name, "{name}: {answer:?}");
    }
}

/// What of a value is not as its schema says, by path. The schemas keep to the few words that are read here.
fn misfits(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |name: &&str| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{path}: the type {other} is not read here"),
    };
    if !types.is_empty() && !types.iter().any(is) {
        wrong.push(format!("{path}: {value} is no {types:?}"));
    }
    let allowed = schema["enum"].as_array().cloned().or_else(|| schema.get("const").map(|one| vec![one.clone()]));
    if allowed.is_some_and(|allowed| !allowed.contains(value)) {
        wrong.push(format!("{path}: {value} is none of those allowed"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            wrong.push(format!("{path}.{name} is not there"));
        }
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            wrong.extend(misfits(schema, value, &format!("{path}.{name}")));
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        wrong.extend(misfits(&schema["items"], item, &format!("{path}[{index}]")));
    }
    wrong
}

#[tokio::test]
async fn answers_are_as_they_are_described() {
    let (gateway, _) = gateway(Script::default()).await;
    let document = get(&gateway, "/openapi.json").await.json();
    let conversation = json!({"messages": [{"role": "user", "content": "Hi"}]});
    let parts: [web::Part<'_>; 3] = [("image", &png(16, 16)), ("prompt", b"a"), ("iterations", b"1")];
    for (path, method, answer) in [
        (
            "/v1/images/generations",
            "post",
            post(&gateway, "/v1/images/generations", &json!({"prompt": "a", "n": 2})).await,
        ),
        ("/v1/images/edits", "post", send(&gateway, form_request("/v1/images/edits", &parts)).await),
        ("/v1/chat/completions", "post", post(&gateway, "/v1/chat/completions", &conversation).await),
        ("/v1/models", "get", get(&gateway, "/v1/models").await),
    ] {
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        let schema = &document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"];
        let name =
            schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/")).expect("a schema");
        let schema = &document["components"]["schemas"][name];
        assert_eq!(misfits(schema, &answer.json(), name), Vec::<String>::new(), "{path}");
    }
}

/// Every status that a path answers with stands in the description, and the error has its shape.
#[tokio::test]
async fn errors_are_as_they_are_described() {
    let http = HttpConfig { cors_origins: vec!["https://example.org".to_owned()], ..HttpConfig::default() };
    let (gateway, _) = with_config(Script::default(), Config { http, ..Config::default() }).await;
    let document = get(&gateway, "/openapi.json").await.json();
    let mut foreign = json_request("/v1/images/generations", &json!({"prompt": "a"}));
    foreign.headers_mut().insert(header::ORIGIN, "https://other.example".parse().expect("a value"));
    foreign.headers_mut().insert("sec-fetch-site", "cross-site".parse().expect("a value"));
    let delete = Request::delete("/v1/models").body(Body::empty()).expect("a request");
    let unread = Request::post("/v1/chat/completions").body(Body::from("x")).expect("a request");
    let answers: [(&str, &str, Answer); 5] = [
        ("/v1/images/generations", "post", post(&gateway, "/v1/images/generations", &json!({})).await),
        ("/v1/images/generations", "post", send(&gateway, foreign).await),
        ("/v1/models", "get", send(&gateway, delete).await),
        ("/v1/models/{model}", "get", get(&gateway, "/v1/models/other").await),
        ("/v1/chat/completions", "post", send(&gateway, unread).await),
    ];
    for (path, method, answer) in answers {
        let described = &document["paths"][path][method]["responses"][answer.status.as_str()];
        assert!(described.is_object(), "{path}: {} is not described", answer.status);
        assert_eq!(misfits(&document["components"]["schemas"]["Error"], &answer.json(), "Error"), Vec::<String>::new());
    }
}
