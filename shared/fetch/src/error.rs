//! Why nothing was fetched, in words for whoever sent the address.

use std::error::Error;

/// Why nothing was fetched. The texts go on from the name of a field: "image_url leads to …". They say nothing of what
/// stands behind an address that is not public, so that nobody learns from them what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Another scheme than http and https, no host, or no address at all.
    #[error("is no address of http or https")]
    NotHttp,
    /// A name and a password in the address.
    #[error("holds a user's name or password; leave them out")]
    Credentials,
    /// A host that is not public, or not known to be.
    #[error("leads to an address that is not public")]
    NotPublic,
    /// A port other than the scheme's own.
    #[error("leads to another port than http's 80 or https's 443")]
    Port,
    /// From https to http.
    #[error("leads from https to http")]
    Downgrade,
    /// More redirects than are followed.
    #[error("leads on more than {0} times")]
    Redirects(usize),
    /// The host is not known, or does not answer as a server of http.
    #[error("cannot be fetched: its host is not known or does not answer")]
    Unreachable,
    /// Another status than 200.
    #[error("cannot be fetched: its host answers with status {0}")]
    Status(u16),
    /// Too much.
    #[error("leads to a file of more than {0} bytes")]
    TooLarge(usize),
    /// Too slow, waiting for other fetches included.
    #[error("cannot be fetched within {0} s")]
    TooSlow(u64),
}

impl FetchError {
    /// What a client's error means: one of ours somewhere among its causes, or that the host cannot be reached.
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(known) = error.downcast_ref::<Self>() {
                return *known;
            }
            cause = error.source();
        }
        Self::Unreachable
    }
}
