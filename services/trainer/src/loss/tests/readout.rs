//! Readouts begin at chance, teach the parts they read, and are in no checkpoint.

use unipic_world::{Cell, Colour, Found, Mention, Shape};

use super::super::readout::{Readouts, shapes};
use super::*;

fn cells(n: usize) -> Vec<Cell> {
    let object = |at: usize| (!at.is_multiple_of(3)).then(|| (Shape::ALL[at % 6], Colour::ALL[at % 11]));
    (0..n).map(|at| Cell { object: object(at), background: Colour::ALL[at % 5] }).collect()
}

fn mentions(n: usize) -> Vec<Mention> {
    let found = |at: usize| if at.is_multiple_of(3) { Found::Several } else { Found::One(at % Mention::N_BANDS) };
    let colour = |at: usize| if at.is_multiple_of(2) { Found::Nothing } else { Found::One(Colour::ALL[at % 11]) };
    let shape = |at: usize| Found::One(Shape::ALL[at % 6]);
    let mention =
        |at| Mention { n_objects: at, colour: colour(at), shape: shape(at), column: found(at), row: found(at + 1) };
    (0..n).map(mention).collect()
}

/// The batch, in which words name something.
fn naming() -> Batch {
    let mut batch = Batch::new();
    batch.around[0].named = vec![1, 2];
    batch.around[1].named = vec![0];
    batch
}

fn with_readouts() -> Parameters {
    parameters().with_readouts(&config()).unwrap()
}

fn readouts(parameters: &Parameters) -> Readouts {
    Readouts::load(&parameters.build(Ops::Reference, &[]), &config()).unwrap()
}

#[test]
fn at_zero_every_class_is_as_likely() {
    let readouts = readouts(&with_readouts());
    let states = tensor(&[6, config().llm.hidden_size], 7);
    let loss: f32 = readouts.seen.loss(&states, &cells(6)).unwrap().to_scalar().unwrap();
    let (shapes, colours) = (Shape::ALL.len() as f32, Colour::ALL.len() as f32);
    let chance = (shapes + 1.0).ln() + (colours + 1.0).ln() + colours.ln();
    assert!((loss - chance).abs() < 1e-5, "{loss} is not {chance}");
}

/// Once a layer is not zero, its loss reaches the parts whose states it reads, and the layer itself.
#[test]
fn what_is_read_learns() {
    let parameters = with_readouts();
    for (name, shape) in shapes(&config()) {
        parameters.vars()[&name].set(&tensor(&shape, 3)).unwrap();
    }
    let (model, readouts, batch) = (model(&parameters, &Part::ALL), readouts(&parameters), naming());
    let all = draws(2);
    let drawn = generate(&model, &batch.generation(), &all).unwrap().conditions.unwrap();
    let edited = edit(&model, &batch.edit(), &all).unwrap().shown.unwrap();
    let seen = shown(&model, Images::Siglip(&batch.pixels)).unwrap();
    assert_eq!(edited.dim(0).unwrap(), 2 * GRID.n_places());
    let asked = understand(&model, &batch.understanding(false)).unwrap().named.unwrap();
    let told = edit(&model, &batch.edit(), &all).unwrap().named.unwrap();
    let named = |states: &Tensor| readouts.named.loss(states, &mentions(3)).unwrap();
    let n = |states: &Tensor| cells(states.dim(0).unwrap());
    for (loss, expected) in [
        (readouts.drawn.loss(&drawn, &n(&drawn)).unwrap(), ["readout.drawn", "mar.", "llm."]),
        (readouts.source.loss(&edited, &n(&edited)).unwrap(), ["readout.source", "mar.", "proj_in"]),
        (readouts.seen.loss(&seen, &n(&seen)).unwrap(), ["readout.seen", "siglip2.", "siglip2_proj"]),
        (named(&asked), ["readout.named", "siglip2.", "llm."]),
        (named(&told), ["readout.named", "mar.", "llm."]),
    ] {
        let (_, gradients) = descend(&parameters, &loss);
        for prefix in expected {
            let reached = gradients.iter().any(|(name, value)| name.starts_with(prefix) && largest(value) > 0.0);
            assert!(reached, "{prefix} does not learn");
        }
    }
}

/// What the language model is shown for a question is what the readout reads.
#[test]
fn images_alone_are_what_a_question_shows() {
    let (parameters, batch) = (parameters(), Batch::new());
    let model = model(&parameters, &[]);
    for by_mar in [false, true] {
        let question = batch.understanding(by_mar);
        let asked = understand(&model, &question).unwrap().shown.unwrap();
        assert_eq!(largest(&(asked - shown(&model, question.images).unwrap()).unwrap()), 0.0);
    }
}

#[test]
fn as_many_states_as_cells() {
    let readouts = readouts(&with_readouts());
    let states = tensor(&[6, config().llm.hidden_size], 7);
    let error = readouts.seen.loss(&states, &cells(5)).unwrap_err().to_string();
    assert!(error.contains("5 labels"), "{error}");
}

/// What is read at a word is its own: of its sequence, and unchanged by what comes behind it.
#[test]
fn words_are_read_where_they_stand() {
    let (parameters, batch) = (parameters(), naming());
    let model = model(&parameters, &[]);
    let all = understand(&model, &batch.understanding(false)).unwrap().named.unwrap();
    assert_eq!(all.dims(), [3, config().llm.hidden_size]);
    for (image, rows) in [(0, 0..2), (1, 2..3)] {
        let only = batch.only(image);
        let alone = understand(&model, &only.understanding(false)).unwrap().named.unwrap();
        let among = all.narrow(0, rows.start, rows.len()).unwrap();
        assert!(largest(&(alone - among).unwrap()) < 1e-5, "image {image}");
    }
    let mut shorter = batch.only(0);
    shorter.around[0].after.truncate(3);
    let first = understand(&model, &shorter.understanding(false)).unwrap().named.unwrap();
    assert!(largest(&(first - all.narrow(0, 0, 2).unwrap()).unwrap()) < 1e-5);
    shorter.around[0].named = vec![3];
    let error = understand(&model, &shorter.understanding(false)).unwrap_err().to_string();
    assert!(error.contains("word 3 of 3"), "{error}");
}
