//! Requests to the HTTP face, and what comes back, without a network between.

#![allow(dead_code, clippy::expect_used, clippy::panic)]

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use unipic_gateway::{Backends, Gateway};

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The field that an error blames, and its message.
    pub(crate) fn blamed(&self) -> (String, String) {
        let error = &self.json()["error"];
        assert!(error["type"].is_string() && error["code"].is_string(), "{error}");
        assert_eq!(error["status"], self.status.as_u16());
        (error["param"].as_str().unwrap_or("").to_owned(), error["message"].as_str().expect("a message").to_owned())
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(&name).map_or("", |value| value.to_str().expect("a text"))
    }

    /// The name and data of every event. Data that is no JSON is a string.
    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        assert_eq!(self.header(header::CONTENT_TYPE), "text/event-stream");
        let text = String::from_utf8(self.body.clone()).expect("UTF-8");
        let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
        let field = |block: &str, name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        blocks
            .map(|block| {
                let data = field(block, "data:");
                (field(block, "event:"), serde_json::from_str(&data).unwrap_or(Value::String(data)))
            })
            .collect()
    }
}

pub(crate) async fn send<B: Backends>(gateway: &Gateway<B>, request: Request<Body>) -> Answer {
    Answer::of(gateway.router().oneshot(request).await.expect("infallible")).await
}

pub(crate) async fn get<B: Backends>(gateway: &Gateway<B>, path: &str) -> Answer {
    send(gateway, Request::get(path).body(Body::empty()).expect("a request")).await
}

pub(crate) fn json_request(path: &str, body: &Value) -> Request<Body> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json; charset=utf-8");
    request.body(Body::from(body.to_string())).expect("a request")
}

pub(crate) async fn post<B: Backends>(gateway: &Gateway<B>, path: &str, body: &Value) -> Answer {
    send(gateway, json_request(path, body)).await
}

/// A part of a form: its name, and its bytes.
pub(crate) type Part<'a> = (&'a str, &'a [u8]);

pub(crate) fn form_request(path: &str, parts: &[Part<'_>]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, bytes) in parts {
        body.extend(format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--xyz--\r\n");
    let request = Request::post(path).header(header::CONTENT_TYPE, "multipart/form-data; boundary=xyz");
    request.body(Body::from(body)).expect("a request")
}

pub(crate) async fn post_form<B: Backends>(gateway: &Gateway<B>, path: &str, parts: &[Part<'_>]) -> Answer {
    send(gateway, form_request(path, parts)).await
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn bytes(base64: &Value) -> Vec<u8> {
    STANDARD.decode(base64.as_str().expect("a string")).expect("base64")
}
