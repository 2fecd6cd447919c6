//! Ids back to text, token by token.
//!
//! A byte-level token is a piece of UTF-8, not of text: a character may span tokens. So bytes are gathered and only
//! whole characters leave.

use std::sync::Arc;

use super::PromptTokenizer;
use super::tokenizer::Spelling;

/// Turns a growing list of ids into text deltas of whole characters.
pub struct TextDecoder {
    tokenizer: Arc<PromptTokenizer>,
    /// The beginning of a character that is not complete yet: at most 3 bytes.
    pending: Vec<u8>,
}

impl TextDecoder {
    /// Nothing decoded yet.
    pub fn new(tokenizer: Arc<PromptTokenizer>) -> Self {
        Self { tokenizer, pending: Vec::new() }
    }

    /// The text that this id completes, perhaps none. Special tokens and ids without a token have no text; bytes that
    /// are no UTF-8 become U+FFFD.
    pub fn push(&mut self, id: u32) -> String {
        match self.tokenizer.spelling(id) {
            None => {}
            Some(Spelling::Text(text)) => self.pending.extend(text.bytes()),
            Some(Spelling::ByteLevel(token)) => push_bytes(&mut self.pending, &token),
        }
        self.take_whole()
    }

    /// What is left at the end: U+FFFD for a character that never got complete.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    fn take_whole(&mut self) -> String {
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.pending.clear();
                    return text;
                }
                Err(e) => {
                    let (whole, rest) = self.pending.split_at(e.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(whole));
                    // Without an error length the bytes are a good beginning: they wait for more.
                    let Some(bad) = e.error_len() else {
                        self.pending = rest.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending = rest[bad..].to_vec();
                }
            }
        }
    }
}

/// Appends the bytes that a byte-level token spells; a token outside that alphabet is taken as text.
fn push_bytes(bytes: &mut Vec<u8>, token: &str) {
    let spelled: Option<Vec<u8>> = token.chars().map(byte_of).collect();
    bytes.extend(spelled.unwrap_or_else(|| token.bytes().collect()));
}

/// The byte that a character of the byte-level alphabet (GPT-2's) stands for: printable Latin-1 stands for itself, the
/// 68 other bytes, in order, for U+0100 and up.
fn byte_of(c: char) -> Option<u8> {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(c);
    let byte = match code {
        0x100..0x144 => (0..256).filter(|b| !printable(*b)).nth((code - 0x100) as usize)?,
        _ if printable(code) => code,
        _ => return None,
    };
    u8::try_from(byte).ok()
}
