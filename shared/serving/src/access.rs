//! Who may call what, decided from a call's headers before anything else happens to it.
//!
//! Two questions, both asked of every call: may this peer (by its certificate) call this method, and does the process's
//! [`Guard`] let the call in (by its key, say). A server that is not told otherwise lets in whom it hears.

use std::fmt::Debug;
use std::sync::Arc;

use http::request::Parts;
use unipic_api::ApiError;

use crate::peers::Peers;

/// Judges calls. It sees every one, so a method that nobody thought of is refused by a guard that refuses by default.
pub trait Guard: Debug + Send + Sync + 'static {
    /// Lets a call in, or says why not. The path is `/package.Service/Method`. What handlers are to know of the caller goes
    /// into the extensions; a credential is best taken out of the headers, so that nothing behind can repeat it.
    ///
    /// # Errors
    /// UNAUTHENTICATED or PERMISSION_DENIED, for a call that is not let in.
    fn admit(&self, call: &mut Parts) -> Result<(), ApiError>;
}

/// Everything that is asked about a call.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) peers: Option<Arc<Peers>>,
    pub(crate) guard: Option<Arc<dyn Guard>>,
}

impl Access {
    pub(crate) fn admit(&self, call: &mut Parts) -> Result<(), ApiError> {
        if let Some(peers) = &self.peers {
            peers.admit(call)?;
        }
        match &self.guard {
            Some(guard) => guard.admit(call),
            None => Ok(()),
        }
    }
}
