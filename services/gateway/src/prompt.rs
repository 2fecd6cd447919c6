//! The chat template of an answer, as segments (model.md section 7).
//!
//! Control tokens are only ever written here, as template pieces; whatever a user typed goes into user pieces, where the
//! decoder reads `<|im_end|>` as ten plain characters.

use unipic_api::pb;

use crate::backends::PromptPiece;

/// A turn with its images replaced by their embeddings.
#[derive(Debug, Clone)]
pub(crate) struct Said<E> {
    pub(crate) role: pb::Role,
    pub(crate) parts: Vec<SaidPart<E>>,
}

/// A part of a turn.
#[derive(Debug, Clone)]
pub(crate) enum SaidPart<E> {
    Text(String),
    Image(E),
}

/// The prompt of a conversation, up to where the model begins to speak.
pub(crate) fn conversation<E>(turns: Vec<Said<E>>) -> Vec<PromptPiece<E>> {
    let mut pieces = Vec::new();
    for turn in turns {
        let name = if turn.role == pb::Role::Assistant { "assistant" } else { "user" };
        template(&mut pieces, &format!("<|im_start|>{name}\n"));
        for part in turn.parts {
            match part {
                SaidPart::Text(text) => pieces.push(PromptPiece::User(text)),
                SaidPart::Image(embeddings) => {
                    pieces.push(PromptPiece::Embeddings(embeddings));
                    template(&mut pieces, "\n");
                }
            }
        }
        template(&mut pieces, "<|im_end|>\n");
    }
    template(&mut pieces, "<|im_start|>assistant\n");
    pieces
}

/// Adds template text, joined to template text before it.
fn template<E>(pieces: &mut Vec<PromptPiece<E>>, text: &str) {
    match pieces.last_mut() {
        Some(PromptPiece::Template(before)) => before.push_str(text),
        _ => pieces.push(PromptPiece::Template(text.to_owned())),
    }
}
