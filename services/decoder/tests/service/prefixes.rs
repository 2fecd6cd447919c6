//! Beginnings of prompts that are kept: the same bits as without, nothing twice, and nothing of another tenant's.

use candle_core::Tensor;
use futures::TryStreamExt;
use unipic_decoder::{AnswerEvent, AnswerSpec, Decoder, ProbeSegment};
use unipic_engine::JobContext;
use unipic_measures::measured;
use unipic_models::prompt::{Prompt, Segment, edit, edit_unconditional, generate};
use unipic_telemetry::{Metrics, TelemetryConfig};
use unipic_test_support::{same_bits, tiny_a};

use crate::{rows, start, start_keeping};

fn of(tenant: &str) -> JobContext {
    JobContext { tenant: tenant.into(), ..JobContext::current() }
}

/// Both branches of an edit.
fn branches(image: &Tensor, instruction: &str) -> Vec<Prompt> {
    vec![edit(image, instruction), edit_unconditional(image, None)]
}

/// Hidden states of five rows behind every prompt, and the positions that opening took.
async fn probed(decoder: &Decoder, prompts: Vec<Prompt>, context: &JobContext) -> (Tensor, usize) {
    let n = prompts.len();
    let mut session = decoder.open(prompts, context).await.unwrap();
    let segments = (0..n).map(|prompt| ProbeSegment { prompt, first_row: 0, n_rows: 5 }).collect();
    (session.probe(rows(5, 3), segments, context).await.unwrap(), session.prefilled_tokens())
}

/// What is said in so many turns about an image.
fn conversation(image: &Tensor, turns: &[(&str, &str)], question: &str) -> Prompt {
    let template = |text: &str| Segment::Template(text.to_owned());
    let user = |text: &str| Segment::User(text.to_owned());
    let mut segments = vec![template("<|im_start|>user\n"), Segment::Embeddings(image.clone()), template("\n")];
    for (question, answer) in turns {
        segments.extend([user(question), template("<|im_end|>\n<|im_start|>assistant\n"), user(answer)]);
        segments.push(template("<|im_end|>\n<|im_start|>user\n"));
    }
    segments.extend([user(question), template("<|im_end|>\n<|im_start|>assistant\n")]);
    Prompt { segments }
}

/// The text of an answer, and how likely two other ones are.
async fn answered(decoder: &Decoder, prompt: Prompt, context: &JobContext) -> (String, Vec<u64>) {
    let candidates = ["yes, it is".to_owned(), "no".to_owned()].to_vec();
    let spec =
        AnswerSpec { prompt, max_tokens: 12, temperature: 1.2, top_p: 0.9, seed: 5, stop: vec![], candidates: vec![] };
    let text = |event: &AnswerEvent| match event {
        AnswerEvent::Text(text) => text.clone(),
        AnswerEvent::Done(_) => String::new(),
    };
    let events: Vec<AnswerEvent> =
        decoder.answer(spec.clone(), context.clone()).await.unwrap().try_collect().await.unwrap();
    let weighed = decoder.answer(AnswerSpec { candidates, ..spec }, context.clone()).await.unwrap();
    let weighed: Vec<AnswerEvent> = weighed.try_collect().await.unwrap();
    let Some(AnswerEvent::Done(done)) = weighed.last() else { panic!("{weighed:?}") };
    (events.iter().map(text).collect(), done.candidate_logprobs.iter().map(|p| p.to_bits()).collect())
}

fn positions(metrics: &Metrics) -> u64 {
    let text = metrics.render();
    let name = "unipic_decoder_prefix_cache_positions_total{scope=\"tenant\"} ";
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[tokio::test]
async fn an_image_that_is_edited_again_is_not_computed_again_and_gives_the_same_bits() {
    let (keeping, forgetful, a) = (start(), start_keeping(&tiny_a(), 0), of("a"));
    // More than one job of prefill.
    let image = rows(700, 1);
    let (first, all) = probed(&keeping, branches(&image, "make it blue"), &a).await;
    assert!(all > 700);
    // The same values in another tensor, as an encoder makes them again.
    let again = rows(700, 1);
    for (instruction, most) in [("make it green and round", 30), ("make it blue", 0)] {
        let (hidden, computed) = probed(&keeping, branches(&again, instruction), &a).await;
        assert!(computed <= most, "{instruction}: {computed}");
        let (expected, whole) = probed(&forgetful, branches(&again, instruction), &a).await;
        assert!(same_bits(&hidden, &expected).unwrap() && whole > 700, "{instruction}");
    }
    assert!(same_bits(&first, &probed(&forgetful, branches(&image, "make it blue"), &a).await.0).unwrap());
    let (_, computed) = probed(&keeping, branches(&rows(700, 2), "make it blue"), &a).await;
    assert_eq!(computed, all, "another image");
}

#[tokio::test]
async fn earlier_turns_of_a_conversation_are_not_computed_again_and_answers_are_the_same() {
    let metrics = Metrics::new(&TelemetryConfig::for_service("test")).unwrap();
    let (keeping, forgetful, a) = (start().counted(&metrics), start_keeping(&tiny_a(), 0), of("a"));
    let image = rows(40, 1);
    let turns = [("What is it?", "A circle."), ("Which colour has it?", "Red."), ("And its size?", "Small.")];
    for (n, (question, _)) in turns.iter().enumerate() {
        let before = positions(&metrics);
        let prompt = conversation(&image, &turns[..n], question);
        let answer = answered(&keeping, prompt.clone(), &a).await;
        assert_eq!(answer, answered(&forgetful, prompt, &a).await, "turn {n}");
        // The turn's weighing takes at least the image from the turn's answer, and a later turn's answer all before it.
        let taken = positions(&metrics) - before;
        assert!(taken >= if n == 0 { 40 } else { 90 }, "turn {n}: {taken}");
    }
}

#[tokio::test]
async fn no_tenant_is_served_from_what_another_sent() {
    let decoder = start();
    let (_, all) = probed(&decoder, vec![generate("a red circle")], &of("a")).await;
    assert_eq!(probed(&decoder, vec![generate("a red circle")], &of("b")).await.1, all);
    assert_eq!(probed(&decoder, vec![generate("a red circle")], &of("a")).await.1, 0);
    let image = rows(30, 1);
    let (_, whole) = probed(&decoder, branches(&image, "make it blue"), &of("a")).await;
    let (_, other) = probed(&decoder, branches(&image, "make it blue"), &of("b")).await;
    assert_eq!(other, whole, "nor is its image known");
    measured!("rows computed for a tenant", whole);
    measured!("of them again for another that asks the same", other);
    assert_eq!(probed(&decoder, branches(&image, "make it blue"), &of("b")).await.1, 0);
}
