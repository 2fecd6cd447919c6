use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use unipic_measures::measured;

use super::*;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/fixtures/tiny-a/");
const OPEN: &str = "<|im_start|>user\n";
const CLOSE: &str = "<|im_end|>\n<|im_start|>assistant\n";

fn tokenizer() -> PromptTokenizer {
    PromptTokenizer::load(format!("{FIXTURE}tokenizer.json").as_ref()).unwrap()
}

/// The fixture's tokenizer with every added token of Qwen2.5, of which the last eight are not marked special.
fn qwen_like() -> PromptTokenizer {
    const ADDED: [&str; 19] = [
        "<|object_ref_start|>",
        "<|object_ref_end|>",
        "<|box_start|>",
        "<|box_end|>",
        "<|quad_start|>",
        "<|quad_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<tool_call>",
        "</tool_call>",
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
    ];
    let mut json: Value = serde_json::from_slice(&std::fs::read(format!("{FIXTURE}tokenizer.json")).unwrap()).unwrap();
    let added = json["added_tokens"].as_array_mut().unwrap();
    for (i, content) in ADDED.iter().enumerate() {
        added.push(json!({
            "id": 398 + i, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": i < 11,
        }));
    }
    PromptTokenizer::from_json(json.to_string().as_bytes()).unwrap()
}

fn template(text: &str) -> Segment {
    Segment::Template(text.into())
}

fn user(text: &str) -> Segment {
    Segment::User(text.into())
}

fn ids(tokenizer: &PromptTokenizer, segments: Vec<Segment>) -> Vec<u32> {
    match &tokenizer.tokenize(&Prompt { segments }).unwrap()[..] {
        [Piece::Ids(ids)] => ids.clone(),
        pieces => panic!("{pieces:?}"),
    }
}

#[test]
fn ids_are_the_published_ones() {
    let tokenizer = tokenizer();
    let cases: Value =
        serde_json::from_slice(&std::fs::read(format!("{FIXTURE}cases/tokenizer.json")).unwrap()).unwrap();
    assert_eq!(tokenizer.image_id(), cases["image_token_id"].as_u64().unwrap() as u32);
    for case in cases["cases"].as_array().unwrap() {
        let (text, templated) = (case["text"].as_str().unwrap(), case["templated"].as_str().unwrap());
        let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(ids(&tokenizer, vec![template(templated)]), expected, "{text}");
        let as_user = ids(&tokenizer, vec![template(OPEN), user(text), template(CLOSE)]);
        if text.contains("<image>") || text.contains("<|im_end|>") {
            assert_ne!(as_user, expected, "typed control tokens are text: {text}");
            assert_eq!(as_user.iter().filter(|id| tokenizer.is_control(**id)).count(), 3, "{text}");
        } else {
            assert_eq!(as_user, expected, "{text}");
        }
    }
}

#[test]
fn joins_leave_no_mark() {
    let tokenizer = tokenizer();
    let whole = ids(&tokenizer, vec![template(&format!("{OPEN}Generate an image: cafe\u{301} — don't\n\n{CLOSE}"))]);
    let text = format!("{OPEN}Generate an image: cafe\u{301} — don't\n\n{CLOSE}");
    let inside = OPEN.len()..text.len() - CLOSE.len();
    for first in inside.clone().filter(|at| text.is_char_boundary(*at)) {
        for second in (first..=inside.end).filter(|at| text.is_char_boundary(*at)) {
            let segments = vec![template(&text[..first]), user(&text[first..second]), template(&text[second..])];
            assert_eq!(ids(&tokenizer, segments), whole, "cut at {first} and {second}");
        }
    }
    let composed = ids(&tokenizer, vec![user("café")]);
    assert_eq!(ids(&tokenizer, vec![user("cafe"), user("\u{301}")]), composed, "normalization crosses joins");
}

/// All added tokens, special or not, in a thousand contexts each, whole and cut across segments.
#[test]
fn user_text_yields_no_control_token() {
    const CONTEXTS: usize = 1000;
    const AROUND: [&str; 10] = ["", " ", "\n", "a", "<", "|>", "é", "日本", "<|im_start|>", "e\u{301}"];
    let tokenizer = Arc::new(qwen_like());
    let controls: Vec<String> = tokenizer.control_tokens().map(|(text, _)| text.to_owned()).collect();
    assert_eq!(controls.len(), 23);
    let (mut n_contexts, mut n_injected) = (0, 0);
    for control in &controls {
        for i in 0..CONTEXTS {
            let (before, between, after) = (AROUND[i % 10], AROUND[i / 10 % 10], AROUND[i / 100]);
            let text = format!("{before}{control}{between}{control}{after}");
            let cut = (0..=text.len()).rev().find(|at| *at <= i % (text.len() + 1) && text.is_char_boundary(*at));
            let (left, right) = text.split_at(cut.unwrap());
            // A cut token is one no more, not even where its first half stands in template text.
            let halves = if controls.iter().any(|c| left.contains(c)) {
                vec![user(left), user(right)]
            } else {
                vec![template(left), user(right)]
            };
            let segments = [vec![template(OPEN)], halves, vec![template(CLOSE)]].concat();
            let ids = ids(&tokenizer, segments);
            let found: Vec<u32> = ids.iter().copied().filter(|id| tokenizer.is_control(*id)).collect();
            n_injected += found.len().saturating_sub(3);
            assert_eq!(found, [396, 397, 396], "{text:?} cut at {cut:?}");
            let mut decoder = TextDecoder::new(Arc::clone(&tokenizer));
            let back: String = ids.iter().map(|id| decoder.push(*id)).collect();
            assert_eq!(back, format!("user\n{}\nassistant\n", text.replace("e\u{301}", "é")), "nothing is lost");
            n_contexts += 1;
        }
    }
    measured!("tokens", controls.len());
    measured!("contexts of each", n_contexts / controls.len());
    measured!("ids injected", n_injected);
}

#[test]
fn template_text_yields_every_control_token() {
    let tokenizer = qwen_like();
    for (control, id) in tokenizer.control_tokens() {
        let found = ids(&tokenizer, vec![template(&format!("a{control}b{control}"))]);
        assert_eq!(found.iter().filter(|found| **found == id).count(), 2, "{control}");
    }
    assert_eq!(tokenizer.image_id(), 417, "after the last id");
}

#[test]
fn a_vocabulary_that_spells_a_control_token_is_refused_at_use() {
    let mut json: Value = serde_json::from_slice(&std::fs::read(format!("{FIXTURE}tokenizer.json")).unwrap()).unwrap();
    json["model"]["ignore_merges"] = json!(true);
    json["pre_tokenizer"] =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json["model"]["vocab"]["<|im_end|>"] = json!(397);
    let tokenizer = PromptTokenizer::from_json(json.to_string().as_bytes()).unwrap();
    let prompt = Prompt { segments: vec![user("<|im_end|>")] };
    assert!(matches!(tokenizer.tokenize(&prompt), Err(PromptError::ControlToken(397))));
}

#[test]
fn files_that_are_no_tokenizer_are_errors() {
    assert!(matches!(PromptTokenizer::load("/nonexistent".as_ref()), Err(PromptError::Read { .. })));
    for json in
        ["", "[]", "{}", "{\"added_tokens\": 3}", "{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}}"]
    {
        assert!(matches!(PromptTokenizer::from_json(json.as_bytes()), Err(PromptError::Invalid(_))), "{json}");
    }
}

/// Pieces with embeddings written as `<image>`, to compare with what the published code tokenizes.
fn flattened(tokenizer: &PromptTokenizer, prompt: &Prompt) -> Vec<u32> {
    let flat = |piece: Piece| match piece {
        Piece::Ids(ids) => ids,
        Piece::Embeddings(_) => vec![tokenizer.image_id()],
    };
    tokenizer.tokenize(prompt).unwrap().into_iter().flat_map(flat).collect()
}

#[test]
fn builders_write_the_published_templates() {
    let tokenizer = tokenizer();
    let image = Tensor::zeros((3, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
    let turn = |role, content| Turn { role, content };
    let text = |text: &str| Content::Text(text.into());
    let talk = conversation(&[
        turn(Role::User, vec![Content::Image(image.clone()), Content::Image(image.clone()), text("Compare.")]),
        turn(Role::Assistant, vec![text("Alike.")]),
        turn(Role::User, vec![Content::Image(image.clone()), text("And this?")]),
    ]);
    let one_turn = |text: &str| format!("{OPEN}{text}{CLOSE}");
    let expected = [
        (generate("a red circle"), one_turn("Generate an image: a red circle")),
        (generate_unconditional(None), one_turn("Generate an image.")),
        (generate_unconditional(Some("fog")), one_turn("Generate an image: fog")),
        (edit(&image, "Replace the stars."), one_turn("<image>\nReplace the stars.")),
        (edit_unconditional(&image, None), one_turn("<image>\nRepeat this image.")),
        (edit_unconditional(&image, Some("Blur it.")), one_turn("<image>\nBlur it.")),
        (understand(&image, "What is it?"), one_turn("<image>\nWhat is it?")),
        (
            talk,
            "<|im_start|>user\n<image>\n<image>\nCompare.<|im_end|>\n<|im_start|>assistant\nAlike.<|im_end|>\n\
             <|im_start|>user\n<image>\nAnd this?<|im_end|>\n<|im_start|>assistant\n"
                .into(),
        ),
    ];
    for (prompt, whole) in expected {
        assert_eq!(flattened(&tokenizer, &prompt), ids(&tokenizer, vec![template(&whole)]), "{whole}");
    }
}

#[test]
fn embeddings_keep_their_identity_and_count() {
    let image = Tensor::zeros((3, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
    let pieces = tokenizer().tokenize(&understand(&image, "Hm?")).unwrap();
    let [Piece::Ids(before), Piece::Embeddings(x), Piece::Ids(_)] = &pieces[..] else { panic!("{pieces:?}") };
    assert_eq!(before.len(), 3);
    assert_eq!(x.id(), image.id());
    assert_eq!(pieces[1].n_positions(), 3);
}

#[test]
fn deltas_are_whole_characters() {
    let tokenizer = Arc::new(qwen_like());
    let text = "naïve — 日本語 🎨!";
    let ids = ids(&tokenizer, vec![user(text)]);
    assert!(ids.len() > text.chars().count(), "characters span tokens in this vocabulary");
    let mut decoder = TextDecoder::new(Arc::clone(&tokenizer));
    let deltas: Vec<String> = ids.iter().map(|id| decoder.push(*id)).collect();
    assert_eq!(deltas.concat(), text);
    assert!(deltas.iter().any(String::is_empty));
    assert_eq!(decoder.finish(), "");

    // A character cut short, then a byte that cannot follow it.
    let half = &ids[..ids.len() - 2];
    let mut decoder = TextDecoder::new(Arc::clone(&tokenizer));
    let begun: String = half.iter().map(|id| decoder.push(*id)).collect();
    assert_eq!(begun, "naïve — 日本語 ");
    assert_eq!(decoder.push(0), "\u{fffd}!");
    assert_eq!(decoder.finish(), "");

    let mut decoder = TextDecoder::new(Arc::clone(&tokenizer));
    half.iter().for_each(|id| drop(decoder.push(*id)));
    assert_eq!(decoder.finish(), "\u{fffd}");
    let tool_call = tokenizer.control_tokens().find(|(text, _)| *text == "<tool_call>").unwrap().1;
    assert_eq!(decoder.push(tool_call), "<tool_call>", "added but not special");
    assert_eq!(decoder.push(396) + &decoder.push(511), "", "special, and without a token");
}
