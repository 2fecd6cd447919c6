//! Prompts as they were asked for, and what of them was computed before.

use std::sync::Arc;

use unipic_api::ApiError;
use unipic_models::prompt::{Prompt, Segment};
use unipic_nn::KvCache;

use crate::decoder::{Decoder, bug, device_fault};
use crate::plan::{self, Unit};
use crate::prefix::{Keys, Owner};

/// A judged prompt.
pub(crate) struct Asked {
    pub(crate) units: Vec<Unit>,
    /// Under which its beginnings are kept, where any are.
    keys: Option<Keys>,
}

impl Decoder {
    /// Prompts, judged; each comes with the field that names it in errors.
    ///
    /// Text of the longest accepted length takes the tokenizer long enough to hold up a thread that serves connections, and
    /// so does hashing the embeddings of a large image.
    pub(crate) async fn asked(
        &self,
        prompts: Vec<(String, Prompt)>,
        tenant: &Arc<str>,
    ) -> Result<Vec<Asked>, ApiError> {
        let (decoder, tenant) = (self.clone(), Arc::clone(tenant));
        let judge = move || prompts.iter().map(|(field, prompt)| decoder.asked_one(prompt, field, &tenant)).collect();
        tokio::task::spawn_blocking(judge).await.unwrap_or_else(|_| Err(bug("tokenizing panicked")))
    }

    fn asked_one(&self, prompt: &Prompt, field: &str, tenant: &Arc<str>) -> Result<Asked, ApiError> {
        let units = self.units_of(prompt, field)?;
        if !self.shared.prefixes.is_kept() {
            return Ok(Asked { units, keys: None });
        }
        let is_ours = prompt.segments.iter().all(|segment| matches!(segment, Segment::Template(_)));
        let owner = if is_ours { Owner::Everyone } else { Owner::Tenant(Arc::clone(tenant)) };
        let keys = Keys::new(owner, &self.info().weights_sha256, &units).map_err(device_fault)?;
        Ok(Asked { units, keys: Some(keys) })
    }

    /// What is kept of a prompt's first `n_units` units, and how many of them that is: an empty cache and none where nothing
    /// is.
    pub(crate) fn begun(&self, asked: &Asked, n_units: usize) -> (KvCache, usize) {
        let found = asked.keys.as_ref().and_then(|keys| self.shared.prefixes.find(keys, n_units, &self.metrics));
        found.map_or_else(|| (self.new_cache(), 0), |found| (found.cache, found.n_units))
    }

    /// Keeps a prompt's computed cache for those that begin like it.
    pub(crate) fn keep(&self, asked: &Asked, cache: &mut KvCache) -> Result<(), ApiError> {
        let Some(keys) = &asked.keys else { return Ok(()) };
        cache.freeze_at(&plan::image_ends(&asked.units)).map_err(device_fault)?;
        self.shared.prefixes.keep(keys, cache, &self.metrics);
        Ok(())
    }
}
