//! The page at `/`, out of the folder `assets`, which is part of the binary.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

static ASSETS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/assets");

/// The page's own files and nothing else; pictures also from what the page itself holds.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// A route for every file, `index.html` at `/`.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    files().into_iter().fold(Router::new(), |router, (path, name, bytes)| {
        let asset = Asset::new(&name, bytes);
        router.route(&path, get(move |request: Request| async move { asset.answer(request.headers()) }))
    })
}

/// Where the files are.
pub(super) fn paths() -> impl Iterator<Item = String> {
    files().into_iter().map(|(path, ..)| path)
}

/// Path, name and bytes of every file.
fn files() -> Vec<(String, String, &'static [u8])> {
    let (mut folders, mut found) = (vec![&ASSETS], Vec::new());
    while let Some(folder) = folders.pop() {
        folders.extend(folder.dirs());
        for file in folder.files() {
            let name = file.path().to_string_lossy().replace('\\', "/");
            let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
            found.push((path, name, file.contents()));
        }
    }
    found
}

/// A file with what is told of it.
#[derive(Debug, Clone)]
struct Asset {
    bytes: &'static [u8],
    media_type: &'static str,
    tag: String,
}

impl Asset {
    fn new(name: &str, bytes: &'static [u8]) -> Self {
        let hash: String = Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, media_type: media_type(name), tag: format!("\"{hash}\"") }
    }

    /// The file, or that it has not changed since the client asked last.
    fn answer(&self, asked: &HeaderMap) -> Response {
        let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
        let is_known = known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.tag);
        let mut response = match is_known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => self.bytes.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        // Kept, and asked about each time: a new version of the server has a new page.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "jpg" | "jpeg" => "image/jpeg",
        "woff2" => "font/woff2",
        "json" | "webmanifest" => "application/json",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
