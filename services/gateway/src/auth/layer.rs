//! The same keys before an HTTP service, with refusals as OpenAI's clients read them.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use tower::{Layer, Service};

use super::keys::Keys;

/// Puts [`Keys`] before a service. Everything needs a key but the paths that are listed as open, exactly as written.
#[derive(Debug, Clone)]
pub struct HttpKeyLayer {
    keys: Keys,
    open: &'static [&'static str],
}

impl HttpKeyLayer {
    /// Asks for `keys` on every path but those in `open`, such as `/healthz`.
    pub fn new(keys: Keys, open: &'static [&'static str]) -> Self {
        Self { keys, open }
    }
}

impl<S> Layer<S> for HttpKeyLayer {
    type Service = HttpKeys<S>;

    fn layer(&self, inner: S) -> HttpKeys<S> {
        HttpKeys { inner, layer: self.clone() }
    }
}

/// A service behind a [`HttpKeyLayer`]. Requests that are let in carry their [`Tenant`](super::Tenant) among their
/// extensions and no key among their headers; others get 401.
#[derive(Debug, Clone)]
pub struct HttpKeys<S> {
    inner: S,
    layer: HttpKeyLayer,
}

impl<S, Q, R> Service<Request<Q>> for HttpKeys<S>
where
    S: Service<Request<Q>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: From<String> + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let is_open = self.layer.open.contains(&parts.uri.path());
        match self.layer.keys.admit(&mut parts, is_open) {
            Ok(()) => Box::pin(self.inner.call(Request::from_parts(parts, body))),
            Err(_) => Box::pin(std::future::ready(Ok(unauthorized()))),
        }
    }
}

/// 401 in the shape of OpenAI's API.
fn unauthorized<R: From<String>>() -> Response<R> {
    let error = serde_json::json!({
        "error": {
            "message": "No valid API key was sent. Send one as `Authorization: Bearer KEY`.",
            "type": "invalid_request_error",
            "param": null,
            "code": "invalid_api_key",
        }
    });
    let mut response = Response::new(R::from(error.to_string()));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::ServiceExt;

    use super::*;
    use crate::auth::{AuthConfig, KeyConfig, NewKey, Tenant};

    async fn ask(config: &AuthConfig, path: &str, key: Option<&str>) -> Response<String> {
        // Answers with the tenant and the credentials it can still see.
        let inner = tower::service_fn(async |request: Request<()>| {
            let tenant = request.extensions().get::<Tenant>().map_or("nobody", Tenant::name).to_owned();
            let n_seen = request.headers().len();
            Ok::<_, Infallible>(Response::new(format!("{tenant} {n_seen}")))
        });
        let service = HttpKeyLayer::new(Keys::new(config), &["/healthz"]).layer(inner);
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        service.oneshot(request.body(()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn only_open_paths_need_no_key() {
        let key = NewKey::random().unwrap();
        let entry = KeyConfig { tenant: "acme".into(), sha256: key.sha256.clone(), not_after: None };
        let config = AuthConfig { keys: vec![entry], ..AuthConfig::default() };
        assert_eq!(ask(&config, "/v1/images/generations", Some(&key.key)).await.body(), "acme 0");
        assert_eq!(ask(&config, "/healthz", None).await.body(), "nobody 0");
        assert_eq!(ask(&config, "/healthz", Some("wrong")).await.body(), "nobody 0");
        for path in ["/v1/models", "/", "/healthz/", "/healthz/../v1/models", "/HEALTHZ"] {
            for key in [None, Some("wrong")] {
                let refused = ask(&config, path, key).await;
                assert_eq!(refused.status(), 401, "{path}");
                assert_eq!(refused.headers()["www-authenticate"], "Bearer");
                let body: serde_json::Value = serde_json::from_str(refused.body()).unwrap();
                assert_eq!(body["error"]["code"], "invalid_api_key");
                assert!(!refused.body().contains("wrong"));
            }
        }
    }

    #[tokio::test]
    async fn without_keys_everything_is_open() {
        assert_eq!(ask(&AuthConfig::default(), "/v1/models", None).await.body(), "nobody 0");
    }
}
