//! Understand.

use unipic_api::{ApiError, pb};
use unipic_imaging::Rgb8;

use super::Violations;
use super::image::draw_seed;
use crate::admission::{Kind, Work};
use crate::model::Model;
use crate::pictures::Pictures;

/// Most stop strings of a request.
const MAX_STOP: usize = 8;
/// Bytes of a stop string.
const MAX_STOP_BYTES: u32 = 256;
/// Most candidates of a request.
const MAX_CANDIDATES: usize = 8;
/// Bytes of a candidate.
const MAX_CANDIDATE_BYTES: u32 = 256;

/// Everything an answer needs, explicit and within the limits.
#[derive(Debug, Clone)]
pub(crate) struct UnderstandSpec {
    pub(crate) turns: Vec<(pb::Role, Vec<TurnPart>)>,
    pub(crate) path: pb::EncoderPath,
    pub(crate) max_tokens: u32,
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) seed: u64,
    pub(crate) stop: Vec<String>,
    pub(crate) candidates: Vec<String>,
}

/// A part of a turn.
#[derive(Debug, Clone)]
pub(crate) enum TurnPart {
    Text(String),
    Image(Rgb8),
}

/// Bytes of text that a token stands for, about.
const BYTES_PER_TOKEN: u64 = 4;

impl UnderstandSpec {
    /// What it makes the server do: the prompt passes once, and every token of the answer.
    pub(crate) fn work(&self, model: &Model) -> Work {
        let part = |part: &TurnPart| match part {
            TurnPart::Text(text) => text.len() as u64 / BYTES_PER_TOKEN + 1,
            TurnPart::Image(_) => u64::from(model.image_tokens(self.path)),
        };
        let prompt: u64 = self.turns.iter().flat_map(|(_, parts)| parts).map(part).sum();
        Work { kind: Kind::Answer, cost: prompt + u64::from(self.max_tokens), pixels: 0 }
    }
}

/// Judges an Understand request, its images included.
pub(crate) async fn understand(
    request: pb::UnderstandRequest,
    model: &Model,
    pictures: &Pictures,
) -> Result<UnderstandSpec, ApiError> {
    let mut violations = Violations::default();
    let limits = &model.limits;
    let path = encoder_path(&mut violations, request.encoder_path, model);
    order(&mut violations, &request.turns, limits.max_turns);
    let enough = count_images(&mut violations, &request.turns, model, path);
    let default_tokens = Some(model.default_answer_tokens);
    let max_tokens = violations.count("max_tokens", request.max_tokens, default_tokens, 1..=limits.max_answer_tokens);
    let temperature = violations.number("temperature", request.temperature, Some(0.0), limits.max_temperature);
    let top_p = request.top_p.unwrap_or(1.0);
    if !(top_p > 0.0 && top_p <= 1.0) {
        violations.add("top_p", format!("must be above 0 and at most 1, not {top_p}"));
    }
    strings(&mut violations, "stop", &request.stop, MAX_STOP, MAX_STOP_BYTES);
    strings(&mut violations, "candidates", &request.candidates, MAX_CANDIDATES, MAX_CANDIDATE_BYTES);
    let reading = Reading { pictures, size: model.input_size(path), max_bytes: limits.max_prompt_bytes };
    let mut turns = Vec::new();
    // A list that is too long is refused as a whole: naming the faults of each would be work without bound.
    let judged = if enough { request.turns } else { Vec::new() };
    for (index, turn) in judged.into_iter().take(limits.max_turns as usize).enumerate() {
        let role = violations.choice(&format!("turns[{index}].role"), turn.role, pb::Role::Unspecified);
        turns.push((role, parts(&mut violations, index, role, turn.parts, &reading).await?));
    }
    violations.into_result()?;
    let seed = request.seed.unwrap_or_else(draw_seed);
    let (stop, candidates) = (request.stop, request.candidates);
    Ok(UnderstandSpec { turns, path, max_tokens, temperature, top_p, seed, stop, candidates })
}

/// The encoder: the first that works when the request does not say.
pub(super) fn encoder_path(violations: &mut Violations, value: i32, model: &Model) -> pb::EncoderPath {
    let default = model.encoder_paths.first().copied().unwrap_or(pb::EncoderPath::Mar);
    let path = violations.choice("encoder_path", value, default);
    if !model.encoder_paths.contains(&path) {
        violations.add("encoder_path", "these weights have no SigLIP2 projector; use the MAR path");
        return default;
    }
    path
}

/// User and assistant in alternation, a user first and last.
fn order(violations: &mut Violations, turns: &[pb::Turn], max_turns: u32) {
    if turns.is_empty() {
        violations.add("turns", "must hold at least one turn");
    }
    if turns.len() > max_turns as usize {
        violations.add("turns", format!("must hold at most {max_turns} turns, not {}", turns.len()));
        return;
    }
    for (index, turn) in turns.iter().enumerate() {
        let expected = if index % 2 == 0 { pb::Role::User } else { pb::Role::Assistant };
        // Values that are no role are named where the turn is read.
        if pb::Role::try_from(turn.role).is_ok_and(|role| role != expected) {
            let name = if expected == pb::Role::User { "ROLE_USER" } else { "ROLE_ASSISTANT" };
            violations.add(
                format!("turns[{index}].role"),
                format!("must be {name}: turns alternate, beginning with a user's"),
            );
        }
    }
    if turns.len().is_multiple_of(2) && !turns.is_empty() {
        violations.add("turns", "the last turn must be a user's");
    }
}

/// How many images, and whether their positions leave room for anything else. False when they are too many to look at.
fn count_images(violations: &mut Violations, turns: &[pb::Turn], model: &Model, path: pb::EncoderPath) -> bool {
    let is_image = |part: &&pb::Part| matches!(part.content, Some(pb::part::Content::Image(_)));
    let images = turns.iter().flat_map(|turn| &turn.parts).filter(is_image).count();
    let limit = model.limits.max_images;
    if images > limit as usize {
        violations.add("turns", format!("must hold at most {limit} images, not {images}"));
        return false;
    }
    let (each, context) = (u64::from(model.image_tokens(path)), u64::from(model.facts.decoder.context_length));
    if images as u64 * each >= context {
        let taken = images as u64 * each;
        violations.add("turns", format!("{images} images take {taken} positions; the model has {context} in all"));
    }
    true
}

/// How the parts of a turn are read.
struct Reading<'a> {
    pictures: &'a Pictures,
    /// Side of the encoder's input in pixels.
    size: u32,
    /// Bytes of text in a turn.
    max_bytes: u32,
}

/// Texts and images of one turn.
async fn parts(
    violations: &mut Violations,
    turn: usize,
    role: pb::Role,
    parts: Vec<pb::Part>,
    reading: &Reading<'_>,
) -> Result<Vec<TurnPart>, ApiError> {
    let pictures = reading.pictures;
    let mut read = Vec::with_capacity(parts.len());
    let mut bytes = 0_usize;
    let mut says_something = false;
    for (index, part) in parts.into_iter().enumerate() {
        let path = format!("turns[{turn}].parts[{index}]");
        match part.content {
            None => violations.add(path, "must be a text or an image"),
            Some(pb::part::Content::Text(text)) => {
                bytes = bytes.saturating_add(text.len());
                says_something |= !text.trim().is_empty();
                read.push(TurnPart::Text(text));
            }
            Some(pb::part::Content::Image(_)) if role == pb::Role::Assistant => {
                says_something = true;
                violations.add(format!("{path}.image"), "only a user's turn can hold an image");
            }
            Some(pb::part::Content::Image(file)) => {
                says_something = true;
                match pictures.decode_square(file, reading.size).await? {
                    Ok(image) => read.push(TurnPart::Image(image)),
                    Err(error) => violations.add(format!("{path}.image"), error.to_string()),
                }
            }
        }
    }
    let path = format!("turns[{turn}].parts");
    if !says_something {
        violations.add(&path, "must hold some text or an image");
    }
    // Together, because a text cut into many parts costs as much as one.
    let limit = reading.max_bytes;
    if bytes > limit as usize {
        violations.add(&path, format!("the texts of a turn must be at most {limit} bytes together, not {bytes}"));
    }
    Ok(read)
}

/// A list of short strings, none of them empty.
fn strings(violations: &mut Violations, field: &str, list: &[String], most: usize, max_bytes: u32) {
    if list.len() > most {
        violations.add(field, format!("must hold at most {most} strings, not {}", list.len()));
        return;
    }
    for (index, text) in list.iter().enumerate() {
        let path = format!("{field}[{index}]");
        if text.is_empty() {
            violations.add(&path, "must not be empty");
        }
        violations.text(&path, text, max_bytes);
    }
}
