//! Prompts as segments, and the ids they become.
//!
//! A prompt is a list of template text (ours), user text and embeddings. Only template text can yield control tokens:
//! what a user types is data, so `<|im_end|>` in a question is ten plain characters to the model. Text between two
//! control tokens or embeddings is joined before it is tokenized, template and user text alike, since merges and
//! normalization cross the joins; so ids equal those of the whole string wherever the user typed no control token.

mod templates;
mod text;
mod tokenizer;

#[cfg(test)]
mod tests;

use candle_core::Tensor;

pub use templates::{
    Content, Role, Turn, conversation, edit, edit_unconditional, generate, generate_unconditional, understand,
};
pub use text::TextDecoder;
pub use tokenizer::{IMAGE_TOKEN, PromptTokenizer};

/// A piece of a prompt.
#[derive(Clone, Debug)]
pub enum Segment {
    /// Text of ours: control tokens such as `<|im_start|>` count as such.
    Template(String),
    /// Text of a user: never yields a control token.
    User(String),
    /// Embeddings `[n, H]` that take n positions.
    Embeddings(Tensor),
}

/// What a language model is asked to go on from.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// The pieces, in order.
    pub segments: Vec<Segment>,
}

impl Prompt {
    /// Bytes of text in all segments, to be bounded before tokenizing.
    pub fn text_bytes(&self) -> usize {
        let bytes = |segment: &Segment| match segment {
            Segment::Template(text) | Segment::User(text) => text.len(),
            Segment::Embeddings(_) => 0,
        };
        self.segments.iter().map(bytes).sum()
    }
}

/// A tokenized stretch of a prompt.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Token ids, one position each.
    Ids(Vec<u32>),
    /// Embeddings `[n, H]`, n positions.
    Embeddings(Tensor),
}

impl Piece {
    /// Positions it takes.
    pub fn n_positions(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Embeddings(x) => x.dims().first().copied().unwrap_or(0),
        }
    }
}

/// Why a prompt could not be tokenized, or a tokenizer not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The tokenizer file cannot be read.
    #[error("cannot read tokenizer {path}: {source}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The tokenizer file is not one this crate can use.
    #[error("tokenizer is not usable: {0}")]
    Invalid(String),
    /// Tokenizing failed.
    #[error("cannot tokenize: {0}")]
    Encode(String),
    /// Text that may yield no control token yielded one. Happens only with a vocabulary that holds a control token's
    /// text as an ordinary word.
    #[error("plain text yielded the control token {0}")]
    ControlToken(u32),
}
