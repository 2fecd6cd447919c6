//! Where a fetch may lead: judged for every address, the first and each that a redirect names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};

use crate::FetchError;
use crate::public::is_public;

/// Hosts that are fetched from though they are not public, as `host:port`.
#[derive(Clone, Debug)]
pub(crate) struct Rules(Arc<[String]>);

impl Rules {
    pub(crate) fn new(private_hosts: &[String]) -> Self {
        Self(private_hosts.iter().map(|host| host.to_ascii_lowercase()).collect())
    }

    /// Judges an address before anything is sent. A host that is a name is judged again by what it stands for.
    pub(crate) fn check(&self, url: &Url) -> Result<(), FetchError> {
        let own_port = match url.scheme() {
            "http" => 80,
            "https" => 443,
            _ => return Err(FetchError::NotHttp),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(FetchError::NotHttp)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Credentials);
        }
        let port = url.port().unwrap_or(own_port);
        if self.0.contains(&format!("{host}:{port}")) {
            return Ok(());
        }
        // One that is private at another port is not to be tried out at this one.
        if self.names(host) {
            return Err(FetchError::NotPublic);
        }
        if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| !is_public(address)) {
            return Err(FetchError::NotPublic);
        }
        if port == own_port { Ok(()) } else { Err(FetchError::Port) }
    }

    /// Whether a private host has this name, at any port.
    fn names(&self, host: &str) -> bool {
        self.0.iter().any(|private| private.rsplit_once(':').is_some_and(|(name, _)| name == host))
    }

    /// Follows so many redirects, each judged like the first address.
    pub(crate) fn redirects(&self, most: usize) -> Policy {
        let rules = self.clone();
        Policy::custom(move |attempt: Attempt| {
            let from_https = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
            let judged = match rules.check(attempt.url()) {
                _ if attempt.previous().len() > most => Err(FetchError::Redirects(most)),
                Ok(()) if from_https && attempt.url().scheme() == "http" => Err(FetchError::Downgrade),
                judged => judged,
            };
            match judged {
                Ok(()) => attempt.follow(),
                Err(error) => attempt.error(error),
            }
        })
    }
}

/// Looks names up and keeps public addresses only. The connection is made to the very addresses that were judged: a name that
/// stands for another one a moment later gains nothing.
impl Resolve for Rules {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.clone();
        Box::pin(async move {
            let all: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let is_private = rules.names(name.as_str());
            let kept: Vec<SocketAddr> = all.into_iter().filter(|at| is_private || is_public(at.ip())).collect();
            if kept.is_empty() {
                return Err(FetchError::NotPublic.into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_by_scheme_host_and_port() {
        let rules = Rules::new(&["Images.internal:9000".to_owned(), "10.0.0.7:80".to_owned()]);
        for (url, expected) in [
            ("https://example.org/a.png", Ok(())),
            ("http://1.1.1.1/a.png", Ok(())),
            ("http://images.internal:9000/a", Ok(())),
            ("http://10.0.0.7/a", Ok(())),
            ("http://images.internal/a", Err(FetchError::NotPublic)),
            ("http://10.0.0.7:81/a", Err(FetchError::NotPublic)),
            ("http://10.0.0.8/a", Err(FetchError::NotPublic)),
            ("http://127.1/a", Err(FetchError::NotPublic)),
            ("http://0x7f000001/a", Err(FetchError::NotPublic)),
            ("http://2130706433/a", Err(FetchError::NotPublic)),
            ("http://[::1]/a", Err(FetchError::NotPublic)),
            ("http://[::ffff:169.254.169.254]/latest", Err(FetchError::NotPublic)),
            ("https://example.org:8443/a", Err(FetchError::Port)),
            ("https://me:secret@example.org/a", Err(FetchError::Credentials)),
            ("ftp://example.org/a", Err(FetchError::NotHttp)),
            ("file:///etc/passwd", Err(FetchError::NotHttp)),
        ] {
            assert_eq!(rules.check(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
