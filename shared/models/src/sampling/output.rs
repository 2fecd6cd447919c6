//! The text of an answer as it grows.

use std::sync::Arc;

use super::StopFilter;
use crate::prompt::{PromptTokenizer, TextDecoder};

/// Turns picked tokens into text to send, and tells when the answer is over.
pub struct AnswerText {
    tokenizer: Arc<PromptTokenizer>,
    decoder: TextDecoder,
    stops: StopFilter,
}

/// What one token brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Text to send, perhaps none: whole characters, and nothing that a stop string may still take back.
    pub delta: String,
    /// Whether the answer is over: an end token or a stop string.
    pub ended: bool,
}

impl AnswerText {
    /// An answer before its first token.
    pub fn new(tokenizer: Arc<PromptTokenizer>, stops: Vec<String>) -> Self {
        let decoder = TextDecoder::new(Arc::clone(&tokenizer));
        Self { tokenizer, decoder, stops: StopFilter::new(stops) }
    }

    /// Takes the next token.
    pub fn push(&mut self, id: u32) -> Progress {
        if self.tokenizer.is_end(id) {
            return Progress { delta: self.finish(), ended: true };
        }
        let text = self.decoder.push(id);
        let delta = self.stops.push(&text);
        Progress { delta, ended: self.stops.stopped() }
    }

    /// What was held back, when the answer ends for want of room.
    pub fn finish(&mut self) -> String {
        let rest = self.decoder.finish();
        self.stops.push(&rest) + &self.stops.finish()
    }
}
