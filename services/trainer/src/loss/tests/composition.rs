//! Losses of batches are made of the losses of their images, and of the rows that count.

use std::ops::Range;

use super::super::generate::{Masked, predict};
use super::*;

/// Holds the loss of two images against those of each, weighted by the rows (or tokens) that each has.
fn check(of: impl Fn(&TrainModel, &Batch, &Draws) -> Tensor, rows: impl Fn(&Batch, &Draws) -> f64) {
    let (parameters, batch, all) = (parameters(), Batch::new(), draws(2));
    let model = model(&parameters, &Part::ALL);
    let together = descend(&parameters, &of(&model, &batch, &all));
    let single = |image| {
        let (batch, draws) = (batch.only(image), draws_of(&all, image));
        (rows(&batch, &draws) / rows(&Batch::new(), &all), of(&model, &batch, &draws))
    };
    let composed = total(&[single(0), single(1)]).unwrap();
    assert_same(&together, &descend(&parameters, &composed));
}

fn n_masked(_: &Batch, draws: &Draws) -> f64 {
    draws.masked.iter().filter(|masked| **masked).count() as f64
}

fn n_tokens(batch: &Batch, _: &Draws) -> f64 {
    batch.answers.concat().len() as f64
}

#[test]
fn generation_is_the_mean_over_all_masked_places() {
    check(|model, batch, draws| generate(model, &batch.generation(), draws).unwrap().loss, n_masked);
}

#[test]
fn editing_is_the_mean_over_all_masked_places() {
    check(|model, batch, draws| edit(model, &batch.edit(), draws).unwrap().loss, n_masked);
}

#[test]
fn understanding_is_the_mean_over_all_tokens_on_both_paths() {
    check(|model, batch, _| understand(model, &batch.understanding(false)).unwrap().loss, n_tokens);
    check(|model, batch, _| understand(model, &batch.understanding(true)).unwrap().loss, n_tokens);
}

/// A conversation's answers are learnt as each would be at the end of the conversation up to it.
#[test]
fn earlier_answers_are_learnt_as_the_last_one_is() {
    let (parameters, batch) = (parameters(), Batch::new().only(0));
    let model = model(&parameters, &Part::ALL);
    let loss = |after: &[u32], answer: &[u32], earlier: &[Vec<Range<usize>>]| {
        let prompts = [AroundImage { before: vec![1, 2], after: after.to_vec(), named: Vec::new() }];
        let batch =
            Understanding { prompts: &prompts, answers: &[answer.to_vec()], earlier, ..batch.understanding(false) };
        understand(&model, &batch).map(|outcome| outcome.loss)
    };
    let (said, answer): (&[u32], &[u32]) = (&[3, 4, 11, 12, 5, 6, 13, 7], &[14, 15]);
    let together = descend(&parameters, &loss(said, answer, &[vec![2..4, 6..7]]).unwrap());
    let singly = [
        (0.4, loss(&said[..2], &said[2..4], &[])),
        (0.2, loss(&said[..6], &said[6..7], &[])),
        (0.4, loss(said, answer, &[])),
    ];
    let singly = singly.map(|(weight, loss)| (weight, loss.unwrap()));
    assert_same(&together, &descend(&parameters, &total(&singly).unwrap()));
    let beyond = loss(said, answer, &[std::iter::once(7..9).collect()]).unwrap_err().to_string();
    assert!(beyond.contains("8 tokens"), "{beyond}");
}

#[test]
fn skipping_known_places_equals_giving_them_no_weight() {
    let (parameters, batch, draws) = (parameters(), Batch::new(), draws(2));
    let model = model(&parameters, &Part::ALL);
    let loss = |all: bool| {
        let images = Masked::new(&model, GRID, &batch.latents, &draws).unwrap();
        let images = if all { images.predicting_all() } else { images };
        descend(&parameters, &predict(&model, &images, &batch.prompts).unwrap().loss)
    };
    assert_same(&loss(false), &loss(true));
}

#[test]
fn an_image_of_which_nothing_is_known_has_a_loss() {
    let (parameters, batch, mut draws) = (parameters(), Batch::new(), draws(2));
    draws.masked.fill(true);
    let loss = generate(&model(&parameters, &[]), &batch.generation(), &draws).unwrap().loss;
    assert!(loss.to_scalar::<f32>().unwrap().is_finite());
}
