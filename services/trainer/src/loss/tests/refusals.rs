//! Batches and draws that do not fit are told, not computed.

use super::*;

fn refuses<T: std::fmt::Debug>(outcome: candle_core::Result<T>, what: &str) {
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains(what), "{error}");
}

#[test]
fn draws_that_do_not_fit_are_refused() {
    let (parameters, batch) = (parameters(), Batch::new());
    let model = model(&parameters, &[]);
    let with = |change: fn(&mut Draws)| {
        let mut draws = draws(2);
        change(&mut draws);
        generate(&model, &batch.generation(), &draws)
    };
    refuses(with(|d| d.masked.truncate(29)), "29 mask values");
    refuses(with(|d| d.timesteps.truncate(59)), "59 timesteps");
    refuses(with(|d| d.timesteps.clear()), "0 timesteps");
    refuses(with(|d| d.noise.truncate(1)), "1 noise values");
    refuses(with(|d| d.masked.fill(false)), "nothing to predict");
    refuses(with(|d| d.timesteps[1] = 1000), "timestep 1000");
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let (parameters, batch, draws) = (parameters(), Batch::new(), draws(2));
    let model = model(&parameters, &[]);
    let short = batch.only(0);
    refuses(generate(&model, &Generation { prompts: &short.prompts, ..batch.generation() }, &draws), "1 prompts");
    refuses(generate(&model, &Generation { latents: &batch.pixels, ..batch.generation() }, &draws), "rank");
    refuses(generate(&model, &Generation { grid: ImageGrid { rows: 5, cols: 5 }, ..batch.generation() }, &draws), "5");
    refuses(edit(&model, &Edit { sources: &short.sources, ..batch.edit() }, &draws), "sources");
    let question = |answers: &[Vec<u32>]| understand(&model, &Understanding { answers, ..batch.understanding(false) });
    refuses(question(&short.answers), "1 answers");
    refuses(question(&[vec![1], vec![]]), "question 1");
    refuses(total(&[]), "without a task");
    refuses(total(&[(1.0, batch.latents.clone())]), "scalars");
}

#[test]
fn operations_without_gradients_are_refused() {
    let loaded = TrainModel::load(&parameters().build(Ops::Inference, &Part::ALL), &config()).map(drop);
    refuses(loaded, "build for training");
}
