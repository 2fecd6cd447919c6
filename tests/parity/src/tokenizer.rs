//! `tokenizer.json`: texts to ids.
//!
//! Some texts type a control token. The published code makes a control token of it; a server must not, since the text is a
//! user's. For those the published ids are still checked, against an ordinary tokenizer and against our template path,
//! and the same text as a user's has to yield none of them.

use std::path::Path;

use anyhow::{Result, anyhow};
use serde::Deserialize;
use tokenizers::{AddedToken, Tokenizer};
use unipic_models::prompt::{Content, IMAGE_TOKEN, Prompt, Role, Segment, Turn, conversation};

use crate::bound::Bound;
use crate::llm::ids_of;
use crate::report::Row;
use crate::subject::Subject;

const CASE: &str = "tokenizer";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    image_token_id: u32,
    cases: Vec<TextCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextCase {
    text: String,
    templated: String,
    ids: Vec<u32>,
}

/// Checks all texts.
///
/// # Errors
/// When the file is not understood or a tokenizer fails.
pub(crate) fn check(subject: &Subject, path: &Path) -> Result<Vec<Row>> {
    let Cases { image_token_id, cases } = serde_json::from_slice(&std::fs::read(path)?)?;
    let published = published_tokenizer(&subject.tokenizer_json)?;
    let mut rows = vec![row("image_token_id", &[subject.tokenizer.image_id()], &[image_token_id])];
    for (i, case) in cases.iter().enumerate() {
        let types_control = subject.tokenizer.control_tokens().any(|(token, _)| case.text.contains(token));
        let ours = user_ids(subject, &case.text)?;
        let template = Prompt { segments: vec![Segment::Template(case.templated.clone())] };
        rows.push(row(&format!("{i}: ids as template"), &ids(subject, &template)?, &case.ids));
        if types_control {
            let encoding = published.encode(case.templated.as_str(), false).map_err(|e| anyhow!(e))?;
            rows.push(row(&format!("{i}: ids as published"), encoding.get_ids(), &case.ids));
            let (found, allowed) = (controls(subject, &ours), controls(subject, &user_ids(subject, "")?));
            rows.push(row(&format!("{i}: control tokens as a user's text"), &found, &allowed));
            rows.push(spelled_row(&published, i, &ours, case)?);
        } else {
            rows.push(row(&format!("{i}: ids as a user's text"), &ours, &case.ids));
        }
    }
    Ok(rows)
}

fn row(quantity: &str, ours: &[u32], expected: &[u32]) -> Row {
    Row::measured(CASE, quantity, &[expected.len()], Bound::Equal, Bound::measure_ids(ours, expected))
}

/// Nothing that the user typed is lost: the ids spell what the published ids spell.
fn spelled_row(published: &Tokenizer, i: usize, ours: &[u32], case: &TextCase) -> Result<Row> {
    let spell = |ids: &[u32]| published.decode(ids, false).map(String::into_bytes).map_err(|e| anyhow!(e));
    let (ours, expected) = (spell(ours)?, spell(&case.ids)?);
    let bytes = |text: Vec<u8>| text.into_iter().map(u32::from).collect::<Vec<_>>();
    Ok(row(&format!("{i}: bytes as a user's text"), &bytes(ours), &bytes(expected)))
}

/// The tokenizer as the published code sets it up.
fn published_tokenizer(json: &[u8]) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(|e| anyhow!(e))?;
    tokenizer.add_special_tokens([AddedToken::from(IMAGE_TOKEN, true)]).map_err(|e| anyhow!(e))?;
    Ok(tokenizer)
}

/// Ids of a text that a user asks.
fn user_ids(subject: &Subject, text: &str) -> Result<Vec<u32>> {
    ids(subject, &conversation(&[Turn { role: Role::User, content: vec![Content::Text(text.into())] }]))
}

fn ids(subject: &Subject, prompt: &Prompt) -> Result<Vec<u32>> {
    Ok(ids_of(&subject.tokenizer.tokenize(prompt)?, subject.tokenizer.image_id()))
}

fn controls(subject: &Subject, ids: &[u32]) -> Vec<u32> {
    ids.iter().copied().filter(|id| subject.tokenizer.is_control(*id)).collect()
}
