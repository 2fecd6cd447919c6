use std::sync::Arc;

use super::*;
use crate::prompt::{Piece, Prompt, PromptTokenizer, Segment};

fn sampler(temperature: f32, top_p: f32, seed: u64) -> Sampler {
    Sampler::new(SamplerSettings { temperature, top_p, seed })
}

/// How often each of the first ids is picked, of 20,000 draws.
fn frequencies(logits: &[f32], temperature: f32, top_p: f32) -> Vec<f64> {
    let mut sampler = sampler(temperature, top_p, 7);
    let mut counts = vec![0.0; logits.len()];
    for _ in 0..20_000 {
        counts[sampler.pick(logits).unwrap() as usize] += 1.0 / 20_000.0;
    }
    counts
}

fn assert_near(found: &[f64], expected: &[f64]) {
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 0.015, "{found:?}, expected {expected:?}");
    }
}

#[test]
fn greedy_picks_the_first_of_the_highest() {
    let mut sampler = Sampler::new(SamplerSettings::GREEDY);
    assert_eq!(sampler.pick(&[0.0, 3.0, -1.0, 3.0]), Ok(1));
    assert_eq!(sampler.pick(&[-5.0]), Ok(0));
}

#[test]
fn draws_follow_the_distribution() {
    let logits = [0.5f32, 0.25, 0.15, 0.1].map(f32::ln);
    assert_near(&frequencies(&logits, 1.0, 1.0), &[0.5, 0.25, 0.15, 0.1]);
    let squared = [0.25, 0.0625, 0.0225, 0.01].map(|p| p / 0.345);
    assert_near(&frequencies(&logits, 0.5, 1.0), &squared);
}

#[test]
fn top_p_keeps_the_smallest_sufficient_set() {
    let logits = [0.15f32, 0.5, 0.1, 0.25].map(f32::ln);
    assert_near(&frequencies(&logits, 1.0, 0.7), &[0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0]);
    assert_near(&frequencies(&logits, 1.0, 0.8), &[0.15 / 0.9, 0.5 / 0.9, 0.0, 0.25 / 0.9]);
    assert_near(&frequencies(&logits, 1.0, 1e-6), &[0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn a_seed_gives_the_same_tokens_and_another_gives_others() {
    let logits: Vec<f32> = (0..300).map(|i| (i as f32 * 0.37).sin()).collect();
    let draw = |seed| {
        let mut sampler = sampler(1.0, 0.95, seed);
        (0..40).map(|_| sampler.pick(&logits).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(0)[0], draw(0)[1]);
}

#[test]
fn logits_that_are_no_numbers_are_errors() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(sampler(0.0, 1.0, 0).pick(&[1.0, bad]), Err(SamplingError::NonFinite));
    }
    assert_eq!(sampler(1.0, 1.0, 0).pick(&[]), Err(SamplingError::Empty));
}

/// Pushes `text` in pieces of `size` characters and returns all that came out, with whether it was stopped.
fn filtered(stops: &[&str], text: &str, size: usize) -> (String, bool) {
    let mut filter = StopFilter::new(stops.iter().map(|s| s.to_string()).collect());
    let chars: Vec<char> = text.chars().collect();
    let mut out: String = chars.chunks(size).map(|piece| filter.push(&piece.iter().collect::<String>())).collect();
    let stopped = filter.stopped();
    out.push_str(&filter.finish());
    (out, stopped)
}

#[test]
fn stops_cut_alike_however_the_text_is_cut() {
    let cases: [(&[&str], &str, &str, bool); 9] = [
        (&[], "abc", "abc", false),
        (&["", "x"], "abc", "abc", false),
        (&["END"], "one END two", "one ", true),
        (&["END"], "one EN", "one EN", false),
        (&["aab"], "aaaab!", "aa", true),
        (&["abcd", "bc"], "xabcd", "xa", true),
        (&["bc", "abc"], "xabcd", "x", true),
        (&["\n\n"], "é\n日\n\n本", "é\n日", true),
        (&["日本"], "日日本語", "日", true),
    ];
    for (stops, text, expected, stopped) in cases {
        for size in 1..=text.chars().count() {
            assert_eq!(filtered(stops, text, size), (expected.to_owned(), stopped), "{stops:?} in {text:?} by {size}");
        }
    }
}

#[test]
fn only_what_may_be_a_stop_is_held_back() {
    let mut filter = StopFilter::new(vec!["STOP".into()]);
    assert_eq!(filter.push("a ST"), "a ");
    assert_eq!(filter.push("ART S"), "START ");
    assert_eq!(filter.push("TOP more"), "");
    assert!(filter.stopped());
    assert_eq!(filter.push("more") + &filter.finish(), "");
}

#[test]
fn an_answer_ends_at_end_tokens_and_stop_strings() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/fixtures/tiny-a/tokenizer.json");
    let tokenizer = Arc::new(PromptTokenizer::load(path.as_ref()).unwrap());
    let ids = |text: &str| match &tokenizer.tokenize(&Prompt { segments: vec![Segment::Template(text.into())] }) {
        Ok(pieces) => match &pieces[..] {
            [Piece::Ids(ids)] => ids.clone(),
            other => panic!("{other:?}"),
        },
        Err(e) => panic!("{e}"),
    };
    let run = |text: &str, stops: &[&str]| {
        let mut answer = AnswerText::new(Arc::clone(&tokenizer), stops.iter().map(|s| s.to_string()).collect());
        let mut out = String::new();
        for id in ids(text) {
            let progress = answer.push(id);
            out.push_str(&progress.delta);
            if progress.ended {
                return (out, true);
            }
        }
        out.push_str(&answer.finish());
        (out, false)
    };
    assert_eq!(run("A 日本 cat.<|im_end|>more", &[]), ("A 日本 cat.".into(), true));
    assert_eq!(run("A cat.<|endoftext|>", &[]), ("A cat.".into(), true));
    assert_eq!(run("A cat. B", &["!", ". C"]), ("A cat. B".into(), false));
    assert_eq!(run("A cat. B<|im_end|>", &["B!"]), ("A cat. B".into(), true), "held text comes out at the end");
    assert_eq!(run("A cat. B", &["cat"]), ("A ".into(), true));
}
