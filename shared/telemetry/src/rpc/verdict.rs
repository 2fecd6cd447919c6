//! What a call that never came to its status ended with.

use std::sync::{Arc, OnceLock};

use tonic::Code;

/// Said by whoever ends a call over its body's head, among the extensions of its response. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<OnceLock<Code>>);

impl Verdict {
    /// Says with what the call is counted and traced if it is dropped now. The first to say so is heard.
    pub fn set(&self, code: Code) {
        let _ = self.0.set(code);
    }

    /// What was said.
    pub fn get(&self) -> Option<Code> {
        self.0.get().copied()
    }
}
