//! The tokenizer of the language model, taken apart: plain text on one side, control tokens on the other.
//!
//! The library's own switch (`encode_special_tokens`) covers only tokens marked special; Qwen's `<tool_call>` and its
//! like are added but not special, and would still be picked out of a user's text. So the tokenizer for text is built
//! without any added token, and control tokens are looked for by this module, in template text only.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::{Piece, Prompt, PromptError, Segment};

/// Stands for an image in template text; takes the id after the tokenizer's last.
pub const IMAGE_TOKEN: &str = "<image>";

/// The tokens that end an answer.
const END_TOKENS: [&str; 2] = ["<|im_end|>", "<|endoftext|>"];

/// Turns prompts into ids.
pub struct PromptTokenizer {
    /// Without any added token.
    plain: Tokenizer,
    /// Longest first, so that the first that fits is the longest.
    controls: Vec<(String, u32)>,
    control_by_id: HashMap<u32, Control>,
    end_ids: Vec<u32>,
    image_id: u32,
    last_id: u32,
}

struct Control {
    text: String,
    special: bool,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

impl PromptTokenizer {
    /// Loads a `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be read or is no tokenizer of a Qwen2 kind.
    pub fn load(path: &Path) -> Result<Self, PromptError> {
        let bytes = std::fs::read(path).map_err(|source| PromptError::Read { path: path.into(), source })?;
        Self::from_json(&bytes)
    }

    /// The same from the file's content.
    ///
    /// # Errors
    /// When it is no tokenizer of a Qwen2 kind.
    pub fn from_json(json: &[u8]) -> Result<Self, PromptError> {
        let invalid = |e: &dyn std::fmt::Display| PromptError::Invalid(e.to_string());
        let mut json: serde_json::Map<String, Value> = serde_json::from_slice(json).map_err(|e| invalid(&e))?;
        let added = json.insert("added_tokens".into(), Value::Array(Vec::new())).unwrap_or_default();
        let added: Option<Vec<AddedToken>> = serde_json::from_value(added).map_err(|e| invalid(&e))?;
        let mut added = added.unwrap_or_default();
        let plain = Tokenizer::from_bytes(Value::Object(json).to_string()).map_err(|e| invalid(&e))?;
        let image_id = add_image_token(&plain, &mut added);
        Self::assemble(plain, added, image_id)
    }

    fn assemble(plain: Tokenizer, added: Vec<AddedToken>, image_id: u32) -> Result<Self, PromptError> {
        let id_of = |content: &str| added.iter().find(|t| t.content == content).map(|t| t.id);
        let last_id = added.iter().map(|t| t.id).chain(plain.get_vocab(false).into_values()).max().unwrap_or(image_id);
        let end_ids: Vec<u32> = END_TOKENS.into_iter().filter_map(id_of).collect();
        for needed in ["<|im_start|>", "<|im_end|>"] {
            if id_of(needed).is_none() {
                return Err(PromptError::Invalid(format!("it has no token {needed}")));
            }
        }
        let mut controls: Vec<(String, u32)> = added.iter().map(|t| (t.content.clone(), t.id)).collect();
        controls.retain(|(content, _)| !content.is_empty());
        controls.sort_by_key(|(content, _)| std::cmp::Reverse(content.len()));
        let control_by_id =
            added.into_iter().map(|t| (t.id, Control { text: t.content, special: t.special })).collect();
        Ok(Self { plain, controls, control_by_id, end_ids, image_id, last_id })
    }

    /// The id of [`IMAGE_TOKEN`].
    pub fn image_id(&self) -> u32 {
        self.image_id
    }

    /// The highest id it can yield, which a model's vocabulary must hold.
    pub fn last_id(&self) -> u32 {
        self.last_id
    }

    /// Whether this id is an added token, which user text never yields.
    pub fn is_control(&self, id: u32) -> bool {
        self.control_by_id.contains_key(&id)
    }

    /// Whether this id ends an answer.
    pub fn is_end(&self, id: u32) -> bool {
        self.end_ids.contains(&id)
    }

    /// Text and ids of all added tokens.
    pub fn control_tokens(&self) -> impl Iterator<Item = (&str, u32)> {
        self.controls.iter().map(|(text, id)| (text.as_str(), *id))
    }

    /// The ids and embeddings of a prompt, in order; neighbouring ids are one piece.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn tokenize(&self, prompt: &Prompt) -> Result<Vec<Piece>, PromptError> {
        let mut pieces = Pieces { tokenizer: self, run: String::new(), done: Vec::new() };
        for segment in &prompt.segments {
            match segment {
                Segment::User(text) => pieces.run.push_str(text),
                Segment::Template(text) => pieces.push_template(text)?,
                Segment::Embeddings(x) => {
                    pieces.end_run()?;
                    pieces.done.push(Piece::Embeddings(x.clone()));
                }
            }
        }
        pieces.end_run()?;
        Ok(pieces.done)
    }

    /// Ids of text in which nothing counts as a control token.
    fn encode_plain(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        let encoding = self.plain.encode_fast(text, false).map_err(|e| PromptError::Encode(e.to_string()))?;
        match encoding.get_ids().iter().find(|id| self.is_control(**id)) {
            Some(id) => Err(PromptError::ControlToken(*id)),
            None => Ok(encoding.get_ids().to_vec()),
        }
    }

    /// The first control token in `text`: where it begins, its text and its id. Leftmost, then longest, as the
    /// published tokenizer matches them.
    fn find_control<'a>(&'a self, text: &str) -> Option<(usize, &'a str, u32)> {
        text.char_indices().find_map(|(at, _)| {
            let (content, id) = self.controls.iter().find(|(content, _)| text[at..].starts_with(content.as_str()))?;
            Some((at, content.as_str(), *id))
        })
    }

    /// The vocabulary's spelling of an ordinary token, or the text of a control token that is not special; nothing for
    /// special tokens and for ids without a token.
    pub(super) fn spelling(&self, id: u32) -> Option<Spelling> {
        match self.control_by_id.get(&id) {
            Some(control) => (!control.special).then(|| Spelling::Text(control.text.clone())),
            None => self.plain.id_to_token(id).map(Spelling::ByteLevel),
        }
    }
}

/// How a token is written down.
pub(super) enum Spelling {
    /// One character per byte, in the byte-level alphabet.
    ByteLevel(String),
    /// As it is.
    Text(String),
}

/// Gives [`IMAGE_TOKEN`] the id after the last one, unless the tokenizer has it already.
fn add_image_token(plain: &Tokenizer, added: &mut Vec<AddedToken>) -> u32 {
    if let Some(token) = added.iter().find(|t| t.content == IMAGE_TOKEN) {
        return token.id;
    }
    let last_of_vocab = plain.get_vocab(false).into_values().max();
    let id = added.iter().map(|t| t.id).chain(last_of_vocab).max().map_or(0, |last| last + 1);
    added.push(AddedToken { id, content: IMAGE_TOKEN.into(), special: true });
    id
}

/// A prompt on its way to pieces.
struct Pieces<'a> {
    tokenizer: &'a PromptTokenizer,
    /// Text since the last control token or embeddings, not tokenized yet.
    run: String,
    done: Vec<Piece>,
}

impl Pieces<'_> {
    fn push_template(&mut self, mut text: &str) -> Result<(), PromptError> {
        while let Some((at, content, id)) = self.tokenizer.find_control(text) {
            self.run.push_str(&text[..at]);
            self.end_run()?;
            self.push_ids(vec![id]);
            text = &text[at + content.len()..];
        }
        self.run.push_str(text);
        Ok(())
    }

    fn end_run(&mut self) -> Result<(), PromptError> {
        if !self.run.is_empty() {
            let ids = self.tokenizer.encode_plain(&std::mem::take(&mut self.run))?;
            self.push_ids(ids);
        }
        Ok(())
    }

    fn push_ids(&mut self, ids: Vec<u32>) {
        match self.done.last_mut() {
            Some(Piece::Ids(before)) => before.extend(ids),
            _ => self.done.push(Piece::Ids(ids)),
        }
    }
}
