//! The tokenizer of a model that begins from nothing: byte-level BPE in the form of Qwen2's, learnt from the words of the
//! shapes world.
//!
//! A word is one token wherever the vocabulary has room for it, so that a small language model need not learn to spell.

use std::collections::HashSet;

use tokenizers::models::bpe::BpeTrainerBuilder;
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Model, Tokenizer};
use unipic_world::{Difficulty, Sampler, Split};

use crate::TrainError;
use crate::recipe::Recipe;

/// Ids that are not merges: bytes, control tokens and `<image>`.
const RESERVED: usize = 256 + 14 + 1;

/// Samples of each kind that words are taken from.
const SAMPLES: u64 = 4000;

/// The tokenizer's file: that of the checkpoint to begin with, else one learnt from the shapes world, the same for every
/// recipe of the same vocabulary.
///
/// # Errors
/// When the vocabulary is too small, or the checkpoint has no tokenizer.
pub(crate) fn json(recipe: &Recipe) -> Result<String, TrainError> {
    if let Some(folder) = &recipe.begin_with {
        let bytes = unipic_models::load::open(folder)?.tokenizer()?;
        let wrong = |e| TrainError::Data(format!("begin_with: the tokenizer of {} is no text: {e}", folder.display()));
        return String::from_utf8(bytes).map_err(wrong);
    }
    let Some(n_merges) = recipe.model.llm.vocab_size.checked_sub(RESERVED) else {
        let why = format!("model.llm.vocab_size: at least {RESERVED} are taken by bytes and control tokens");
        return Err(TrainError::Data(why));
    };
    learn(&words(), n_merges).map_err(|e| TrainError::Data(format!("tokenizer: {e}")))
}

fn learn(texts: &[String], n_merges: usize) -> tokenizers::Result<String> {
    let mut tokenizer: Tokenizer = unipic_weights::tokenizer_json(&[], &[]).parse()?;
    let alphabet: HashSet<char> = ByteLevel::alphabet().into_iter().collect();
    let trainer = BpeTrainerBuilder::new().show_progress(false).vocab_size(256 + n_merges).initial_alphabet(alphabet);
    let mut trainer = TrainerWrapper::from(trainer.min_frequency(4).build());
    tokenizer.train(&mut trainer, texts.iter())?;
    let ModelWrapper::BPE(model) = tokenizer.get_model() else { return Err("not a BPE model".into()) };
    let model = serde_json::to_value(model)?;
    let merges = model["merges"].as_array().cloned().unwrap_or_default();
    let pair = |merge: &serde_json::Value| match merge {
        serde_json::Value::String(text) => text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        pair => Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned())),
    };
    let merges: Vec<(String, String)> = merges.iter().filter_map(pair).collect();
    let mut seen = HashSet::new();
    let words: Vec<String> = merges.iter().map(|(a, b)| format!("{a}{b}")).filter(|w| seen.insert(w.clone())).collect();
    debug_assert!(tokenizer.get_model().get_vocab_size() >= words.len());
    Ok(unipic_weights::tokenizer_json(&words, &merges))
}

/// Texts of the world, as they stand in prompts.
fn words() -> Vec<String> {
    let sampler = Sampler::new(0, Difficulty::full(), Split::Train);
    let mut texts = Vec::new();
    for index in 0..SAMPLES {
        texts.push(format!("Generate an image: {}", sampler.generation(index).prompt));
        let question = sampler.question(index);
        texts.extend([format!("\n{}", question.question), question.answer]);
        let caption = sampler.caption(index);
        texts.extend([format!("\n{}", caption.question), caption.caption]);
        texts.push(format!("\n{}", sampler.edit(index).instruction));
    }
    texts.extend(vec!["Generate an image.\nRepeat this image.user\nassistant\n".to_owned(); 8]);
    texts
}

#[cfg(test)]
mod tests {
    use unipic_models::prompt::{Piece, PromptTokenizer, generate};

    use super::*;

    #[test]
    fn words_of_the_world_are_single_tokens() {
        let json = learn(&words(), 753).unwrap();
        let tokenizer = PromptTokenizer::from_json(json.as_bytes()).unwrap();
        let ids = |text: &str| -> usize {
            let pieces = tokenizer.tokenize(&generate(text)).unwrap();
            pieces.iter().map(Piece::n_positions).sum()
        };
        // Against one word, not none: the space at the end of the template would be a token of its own.
        let one = ids("a");
        assert_eq!(ids("a red circle above a blue square") - one, 6);
        assert!(ids("zygomorphic") - one > 2, "unknown words are spelt");
        assert!((tokenizer.last_id() as usize) < 1024);
    }
}
