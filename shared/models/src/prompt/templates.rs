//! The prompts of the three tasks (model page, section 7), in the chat template without a system turn.

use candle_core::Tensor;

use super::{Prompt, Segment};

const USER: &str = "<|im_start|>user\n";
const ASSISTANT: &str = "<|im_start|>assistant\n";
const END: &str = "<|im_end|>\n";

fn template(text: &str) -> Segment {
    Segment::Template(text.into())
}

/// One user turn around these segments, and the beginning of the answer.
fn ask(content: impl IntoIterator<Item = Segment>) -> Prompt {
    let close = [template(END), template(ASSISTANT)];
    Prompt { segments: [template(USER)].into_iter().chain(content).chain(close).collect() }
}

/// The prompt of a generation.
pub fn generate(prompt: &str) -> Prompt {
    ask([template("Generate an image: "), Segment::User(prompt.into())])
}

/// The unconditional branch of a generation. A negative prompt takes the place of "no description": guidance then leads
/// away from it.
pub fn generate_unconditional(negative: Option<&str>) -> Prompt {
    match negative {
        Some(negative) => generate(negative),
        None => ask([template("Generate an image.")]),
    }
}

/// The prompt of an edit. `embeddings` `[N+K, H]` are those of the whole source image, buffers last.
pub fn edit(embeddings: &Tensor, instruction: &str) -> Prompt {
    ask([Segment::Embeddings(embeddings.clone()), template("\n"), Segment::User(instruction.into())])
}

/// The unconditional branch of an edit, over the same image. A negative prompt is an instruction to lead away from.
pub fn edit_unconditional(embeddings: &Tensor, negative: Option<&str>) -> Prompt {
    match negative {
        Some(negative) => edit(embeddings, negative),
        None => ask([Segment::Embeddings(embeddings.clone()), template("\nRepeat this image.")]),
    }
}

/// A question about one image, whose embeddings are `[n, H]`.
pub fn understand(embeddings: &Tensor, question: &str) -> Prompt {
    let content = vec![Content::Image(embeddings.clone()), Content::Text(question.into())];
    conversation(&[Turn { role: Role::User, content }])
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The user.
    User,
    /// The model, in an earlier turn.
    Assistant,
}

/// A part of a turn.
#[derive(Clone, Debug)]
pub enum Content {
    /// Embeddings `[n, H]` of an image; in text it would be written `<image>` and a line break.
    Image(Tensor),
    /// Text. Also an earlier answer counts as user text: it comes back through the caller's hands.
    Text(String),
}

/// One turn of a conversation.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Content>,
}

/// A conversation, up to the beginning of the next answer.
pub fn conversation(turns: &[Turn]) -> Prompt {
    let mut segments = Vec::new();
    for turn in turns {
        segments.push(template(if turn.role == Role::User { USER } else { ASSISTANT }));
        for content in &turn.content {
            match content {
                Content::Image(x) => segments.extend([Segment::Embeddings(x.clone()), template("\n")]),
                Content::Text(text) => segments.push(Segment::User(text.clone())),
            }
        }
        segments.push(template(END));
    }
    segments.push(template(ASSISTANT));
    Prompt { segments }
}
