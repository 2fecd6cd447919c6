//! The gateway's keys before the HTTP API, with refusals as OpenAI's clients read them.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::Request;
use axum::response::{IntoResponse, Response};
use tower::{Layer, Service};

use super::error::HttpError;
use crate::auth::Keys;

/// Puts [`Keys`] before a service. Everything needs a key but the paths that are listed as open, exactly as written.
#[derive(Debug, Clone)]
pub(super) struct HttpKeyLayer {
    keys: Keys,
    open: Arc<BTreeSet<String>>,
}

impl HttpKeyLayer {
    /// Asks for `keys` on every path but those in `open`, such as `/healthz`.
    pub(super) fn new(keys: Keys, open: impl IntoIterator<Item = String>) -> Self {
        Self { keys, open: Arc::new(open.into_iter().collect()) }
    }
}

impl<S> Layer<S> for HttpKeyLayer {
    type Service = HttpKeys<S>;

    fn layer(&self, inner: S) -> HttpKeys<S> {
        HttpKeys { inner, layer: self.clone() }
    }
}

/// A service behind a [`HttpKeyLayer`]. Requests that are let in carry their [`unipic_serving::Tenant`] among their
/// extensions and no key among their headers; others get 401.
#[derive(Debug, Clone)]
pub(super) struct HttpKeys<S> {
    inner: S,
    layer: HttpKeyLayer,
}

impl<S, Q> Service<Request<Q>> for HttpKeys<S>
where
    S: Service<Request<Q>, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let is_open = self.layer.open.contains(parts.uri.path());
        match self.layer.keys.admit(&mut parts, is_open) {
            Ok(()) => Box::pin(self.inner.call(Request::from_parts(parts, body))),
            Err(error) => Box::pin(std::future::ready(Ok(HttpError::from(error).into_response()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::ServiceExt;
    use unipic_serving::Tenant;

    use super::*;
    use crate::auth::{AuthConfig, KeyConfig, NewKey};

    /// The status, and what a service behind the keys saw: the tenant and the number of headers.
    async fn ask(config: &AuthConfig, path: &str, key: Option<&str>) -> (u16, String) {
        let inner = tower::service_fn(async |request: Request<()>| {
            let tenant = request.extensions().get::<Tenant>().map_or("nobody", Tenant::as_str).to_owned();
            let n_seen = request.headers().len();
            Ok::<_, Infallible>(format!("{tenant} {n_seen}").into_response())
        });
        let service = HttpKeyLayer::new(Keys::new(config), ["/healthz".to_owned()]).layer(inner);
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401);
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn let_in(who: &str) -> (u16, String) {
        (200, format!("{who} 0"))
    }

    #[tokio::test]
    async fn only_open_paths_need_no_key() {
        let key = NewKey::random().unwrap();
        let entry = KeyConfig { tenant: "acme".into(), sha256: key.sha256.clone(), not_after: None };
        let config = AuthConfig { keys: vec![entry], ..AuthConfig::default() };
        assert_eq!(ask(&config, "/v1/images/generations", Some(&key.key)).await, let_in("acme"));
        assert_eq!(ask(&config, "/healthz", None).await, let_in("nobody"));
        assert_eq!(ask(&config, "/healthz", Some("wrong")).await, let_in("nobody"));
        for path in ["/v1/models", "/", "/healthz/", "/healthz/../v1/models", "/HEALTHZ"] {
            for key in [None, Some("wrong")] {
                let (status, body) = ask(&config, path, key).await;
                assert_eq!(status, 401, "{path}");
                assert!(!body.contains("wrong"));
                let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                assert_eq!(body["error"]["code"], "invalid_api_key");
            }
        }
    }

    #[tokio::test]
    async fn without_keys_everything_is_open() {
        assert_eq!(ask(&AuthConfig::default(), "/v1/models", None).await, let_in("nobody"));
    }
}
