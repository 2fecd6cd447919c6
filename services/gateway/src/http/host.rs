//! Requests for hosts that this server is not, kept out.
//!
//! A page of any site can make its own name resolve to 127.0.0.1 a moment after it was loaded (DNS rebinding); then the
//! browser takes this server for that site, and neither CORS nor the same-origin policy keeps the page from reading
//! answers. What gives it away is the Host header, which still says the site's name. So where only this machine can
//! connect and no key is asked for, the header must name this machine, or what `http.allowed_hosts` lists.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use unipic_serving::ListenAddress;

use super::HttpConfig;
use super::error::HttpError;

/// What is answered whatever host is named: it tells nothing, and orchestrators ask by address.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// The hosts that requests may name besides this machine.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<[String]>);

impl Hosts {
    /// The rule for a listener; none where any host may be named: on addresses that others reach, whose names only the
    /// operator knows and may list, and behind keys, which no foreign page has.
    pub(super) fn of(address: Option<ListenAddress>, config: &HttpConfig, needs_keys: bool) -> Option<Self> {
        let is_private = match address {
            Some(ListenAddress::Tcp(address)) => address.ip().is_loopback(),
            Some(ListenAddress::Unix(_)) => false,
            // What is not known is judged strictly.
            None => true,
        };
        let is_asked = !config.allowed_hosts.is_empty() || (is_private && !needs_keys);
        is_asked.then(|| Self(config.allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect()))
    }

    /// Whether a request may name this host, without its port.
    fn allows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        // Browsers resolve whatever ends in localhost to this machine, and nothing else.
        let is_here = host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|ip| ip.is_loopback());
        is_here || self.0.contains(&host)
    }
}

/// Refuses requests for other hosts. One that names none comes from no browser.
pub(super) async fn known_host_only(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) || named(&request).iter().all(|host| is_allowed(&hosts, host)) {
        return next.run(request).await;
    }
    let message = "this server is not the host that the request names; see allowed_hosts in the table [http]";
    HttpError::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message).into_response()
}

/// The hosts that a request names, in its target and in its headers.
fn named(request: &Request) -> Vec<&[u8]> {
    let headers = request.headers().get_all(header::HOST).iter().map(|value| value.as_bytes());
    headers.chain(request.uri().authority().map(|authority| authority.as_str().as_bytes())).collect()
}

fn is_allowed(hosts: &Hosts, named: &[u8]) -> bool {
    Authority::try_from(named).is_ok_and(|authority| hosts.allows(authority.host()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listen: &str, allowed: &[&str], needs_keys: bool) -> Option<Hosts> {
        let allowed_hosts = allowed.iter().map(|host| (*host).to_owned()).collect();
        Hosts::of(listen.parse().ok(), &HttpConfig { allowed_hosts, ..HttpConfig::default() }, needs_keys)
    }

    #[test]
    fn the_header_is_judged_where_a_foreign_page_could_do_harm() {
        let is_judged = |listen, allowed: &[&str], needs_keys| hosts(listen, allowed, needs_keys).is_some();
        assert!(is_judged("127.0.0.1:8080", &[], false) && is_judged("[::1]:8080", &[], false));
        assert!(!is_judged("127.0.0.1:8080", &[], true), "a foreign page has no key");
        assert!(!is_judged("0.0.0.0:8080", &[], false) && !is_judged("unix:/run/a", &[], false));
        assert!(is_judged("0.0.0.0:8080", &["a.example"], true), "who lists hosts wants them asked for");
    }

    #[test]
    fn this_machine_and_the_listed_hosts_are_let_in() {
        let hosts = hosts("127.0.0.1:8080", &["Pictures.example"], false).unwrap();
        for host in
            ["localhost", "LOCALHOST:8080", "a.localhost", "localhost.", "127.0.0.1:8080", "127.9.9.9", "[::1]:80"]
        {
            assert!(is_allowed(&hosts, host.as_bytes()), "{host}");
        }
        assert!(is_allowed(&hosts, b"pictures.example:443"));
        for host in
            ["evil.example", "localhost.evil.example", "evillocalhost", "10.0.0.1", "127.0.0.1.evil.example", ""]
        {
            assert!(!is_allowed(&hosts, host.as_bytes()), "{host}");
        }
        assert!(!is_allowed(&hosts, b"\xff"));
    }
}
