//! Files from addresses that strangers name: images of a conversation, where an operator allows it.
//!
//! A server that fetches what it is told to is a way into the network it stands in, so everything about a fetch is judged:
//! the scheme, the port, every address a name stands for, every redirect; proxies of the environment are not used, and
//! nothing is sent along. A fetch has a size and a time, and only so many run at once.
//!
//! The crate knows neither images nor services.

mod error;
mod public;
mod rules;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::ACCEPT;
use reqwest::{Client, Url};
use tokio::sync::Semaphore;
use unipic_tls::TlsError;

pub use error::FetchError;
use rules::Rules;

/// What a fetcher keeps to.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchLimits {
    /// Bytes of one file at most.
    pub max_bytes: usize,
    /// The longest one fetch may take, redirects and waiting for others included.
    pub timeout: Duration,
    /// Redirects that are followed.
    pub max_redirects: usize,
    /// Fetches at once.
    pub max_concurrent: usize,
    /// Hosts that are fetched from though they are at private addresses or other ports, each `host:port`.
    pub private_hosts: Vec<String>,
}

/// Fetches files within limits.
#[derive(Debug)]
pub struct Fetcher {
    client: Client,
    rules: Rules,
    limits: FetchLimits,
    running: Semaphore,
}

impl Fetcher {
    /// A fetcher with these limits.
    ///
    /// # Errors
    /// When this system trusts no authorities, by which servers of https are known.
    pub fn new(limits: FetchLimits) -> Result<Self, TlsError> {
        let rules = Rules::new(&limits.private_hosts);
        let built = Client::builder()
            .tls_backend_preconfigured(unipic_tls::web_client()?)
            .dns_resolver(rules.clone())
            .redirect(rules.redirects(limits.max_redirects))
            .referer(false)
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(0)
            .user_agent(concat!("unipic/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = built.map_err(|error| TlsError { key: "ca", problem: error.to_string() })?;
        Ok(Self { client, rules, running: Semaphore::new(limits.max_concurrent), limits })
    }

    /// The file at an address.
    ///
    /// # Errors
    /// What is wrong with the address, or why it was not fetched.
    pub async fn fetch(&self, address: &str) -> Result<Bytes, FetchError> {
        let url = Url::parse(address).map_err(|_| FetchError::NotHttp)?;
        self.rules.check(&url)?;
        let fetched = tokio::time::timeout(self.limits.timeout, self.fetch_in_turn(url)).await;
        fetched.unwrap_or(Err(FetchError::TooSlow(self.limits.timeout.as_secs_f64().ceil() as u64)))
    }

    async fn fetch_in_turn(&self, url: Url) -> Result<Bytes, FetchError> {
        // Never closed.
        let _turn = self.running.acquire().await.map_err(|_| FetchError::Unreachable)?;
        let failed = |error: reqwest::Error| FetchError::of(&error);
        let mut response = self.client.get(url).header(ACCEPT, "image/*").send().await.map_err(failed)?;
        if response.status().as_u16() != 200 {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let most = self.limits.max_bytes;
        if response.content_length().is_some_and(|bytes| bytes > most as u64) {
            return Err(FetchError::TooLarge(most));
        }
        let mut file = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if file.len() + chunk.len() > most {
                return Err(FetchError::TooLarge(most));
            }
            file.extend_from_slice(&chunk);
        }
        Ok(file.freeze())
    }
}
