//! The prompt builder: whatever a user types, the control tokens of a prompt are the template's.

use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use fuzz::{Bounds, Outcome, Target};
use unipic_models::nano;
use unipic_models::prompt::{
    Content, Piece, Prompt, PromptTokenizer, Role, TextDecoder, Turn, conversation, edit, generate,
};

/// As gateways bound it before anything is tokenized.
const MAX_BYTES: usize = 8 << 10;

const TARGET: Target = Target {
    name: "prompts",
    // Ids, offsets and pieces of 8 KiB of text, several times over.
    bounds: Bounds { bytes: 32 << 20, time: Duration::from_secs(20) },
    rounds: 60,
    words: &[
        "<|im_start|>",
        "<|im_end|>",
        "<image>",
        "<|endoftext|>",
        "<|im_",
        "end|>",
        "\u{0}",
        "\u{200d}",
        "e\u{301}",
        "夜",
        "\u{feff}",
        "ﬁ",
    ],
};

fn control_ids(tokenizer: &PromptTokenizer, prompt: &Prompt) -> Result<Vec<u32>, String> {
    let pieces = tokenizer.tokenize(prompt).map_err(|error| error.to_string())?;
    let ids = pieces.into_iter().flat_map(|piece| match piece {
        Piece::Ids(ids) => ids,
        Piece::Embeddings(_) => Vec::new(),
    });
    Ok(ids.filter(|id| tokenizer.is_control(*id)).collect())
}

/// Every prompt that the text can be part of.
fn prompts(text: &str, image: &Tensor) -> Vec<Prompt> {
    let said =
        |role, text: &str| Turn { role, content: vec![Content::Image(image.clone()), Content::Text(text.into())] };
    let turns = [said(Role::User, text), said(Role::Assistant, text), said(Role::User, text)];
    vec![generate(text), edit(image, text), conversation(&turns)]
}

fn judge(tokenizer: &Arc<PromptTokenizer>, image: &Tensor, input: &[u8]) -> Outcome {
    // The ids of an answer may be anything, and their text is always whole characters.
    let mut decoder = TextDecoder::new(Arc::clone(tokenizer));
    for id in input.iter().take(MAX_BYTES) {
        decoder.push(u32::from(*id) * 3 % (tokenizer.last_id() + 7));
    }
    decoder.finish();
    if input.len() > MAX_BYTES {
        return Outcome::Refused(format!("more than {MAX_BYTES} bytes"));
    }
    let text = match std::str::from_utf8(input) {
        Ok(text) => text,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    for (prompt, plain) in prompts(text, image).iter().zip(prompts("x", image)) {
        match (control_ids(tokenizer, prompt), control_ids(tokenizer, &plain)) {
            (Ok(ids), Ok(expected)) if ids == expected => {}
            (ids, expected) => return Outcome::Broken(format!("control tokens {ids:?} where {expected:?} belong")),
        }
    }
    Outcome::Taken
}

#[test]
fn no_text_yields_a_control_token() -> anyhow::Result<()> {
    let tokenizer = Arc::new(PromptTokenizer::from_json(&nano::checkpoint()?.tokenizer()?)?);
    let image = Tensor::zeros((3, 8), DType::F32, &Device::Cpu)?;
    let seeds =
        ["a red circle above a blue square", "", "What colour is it?\nAnswer in one word.", "三つの星 ⭐ e\u{301}"];
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    stated!(TARGET.replay(&seeds, |input| judge(&tokenizer, &image, input))?)
}
