//! Prompts that are the same for every request, prefilled once for all of them.
//!
//! Every guided generation asks for the same unconditional prompt. Only prompts made of template text alone are kept:
//! nothing that a user typed or showed outlives its session.

use std::sync::{Mutex, MutexGuard, PoisonError};

use unipic_models::prompt::{Prompt, Segment};
use unipic_nn::KvCache;

use crate::plan::Unit;

/// How many are kept; one is in use. More would be templates of a caller that we do not know.
const MAX_KEPT: usize = 8;

/// Caches of prompts, by their ids.
#[derive(Default)]
pub(crate) struct KeptPrompts {
    // A plain lock: it is held for a look at a handful of short lists.
    prompts: Mutex<Vec<(Vec<u32>, KvCache)>>,
}

impl KeptPrompts {
    /// Whether a prompt may be kept.
    pub(crate) fn accepts(prompt: &Prompt) -> bool {
        prompt.segments.iter().all(|segment| matches!(segment, Segment::Template(_)))
    }

    /// The cache of an acceptable prompt, if it was kept.
    pub(crate) fn find(&self, units: &[Unit]) -> Option<KvCache> {
        let ids = ids(units)?;
        self.lock().iter_mut().find(|(kept, _)| *kept == ids).map(|(_, cache)| cache.share())
    }

    /// Keeps an acceptable prompt while there is room.
    pub(crate) fn keep(&self, units: &[Unit], cache: &mut KvCache) {
        let Some(ids) = ids(units) else { return };
        let mut prompts = self.lock();
        if prompts.len() < MAX_KEPT && prompts.iter().all(|(kept, _)| *kept != ids) {
            prompts.push((ids, cache.share()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Vec<u32>, KvCache)>> {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ids of text; none where embeddings are among the units.
fn ids(units: &[Unit]) -> Option<Vec<u32>> {
    let id = |unit: &Unit| match unit {
        Unit::Id(id) => Some(*id),
        Unit::Embeddings(_) => None,
    };
    units.iter().map(id).collect()
}
