//! The generation loop around a stand-in for the language model: what it reveals and when, and that images do not depend
//! on the company they are generated in. The loop with the real language model is compared with the published one by the
//! parity harness.

mod support;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use support::{OPS, model, normals};
use unipic_models::diffusion::{Draws, HeadState, HeadStep, RecordedDraws};
use unipic_models::generation::{
    Decoded, Encoded, Generation, GenerationError, GuidanceSchedule, ImageGrid, Iteration, Settings, Source,
    SynthesisModel, probe_rows,
};
use unipic_nn::Ops;
use unipic_test_support::{assert_close, case, same_bits};

const GRID: ImageGrid = ImageGrid { rows: 3, cols: 4 };

fn settings() -> Settings {
    Settings {
        grid: GRID,
        iterations: 4,
        head_steps: 3,
        guidance_scale: 2.5,
        guidance_schedule: GuidanceSchedule::Linear,
        temperature: 0.9,
        seed: 11,
        first_image: 0,
        n_images: 1,
    }
}

/// Places of [`EDIT_GRID`] that an edit redraws.
const REDRAWN: [u32; 4] = [1, 4, 5, 8];
const EDIT_GRID: ImageGrid = ImageGrid { rows: 5, cols: 2 };

/// A source for edits, and settings for them.
fn edit(model: &SynthesisModel) -> Result<(Settings, Source)> {
    let source = Tensor::from_vec(normals(5 * 2 * 16, 4), (5, 2, 16), &Device::Cpu)?;
    Ok((Settings { grid: EDIT_GRID, seed: 12, ..settings() }, model.source(&source)?))
}

/// Generations that have nothing in common: grid, iterations, head steps, guidance, images, and two are edits, of which
/// one redraws a part.
fn unlike(model: &SynthesisModel) -> Result<Vec<Generation>> {
    let (edit, source) = edit(model)?;
    let redraw = Settings { n_images: 2, ..edit.clone() };
    let one_branch = Settings { guidance_scale: 1.0, head_steps: 5, iterations: 7, ..settings() };
    let base = Settings { grid: ImageGrid { rows: 4, cols: 4 }, iterations: 2, n_images: 3, seed: 13, ..settings() };
    Ok(vec![
        Generation::seeded(settings(), None)?,
        Generation::seeded(edit, Some(source.clone()))?,
        Generation::seeded(redraw, Some(source))?.redrawing(&REDRAWN)?,
        Generation::seeded(one_branch, None)?,
        Generation::seeded(base, None)?,
    ])
}

/// In place of the language model: row by row, and another map for each branch.
fn probe(rows: &Tensor, n_branches: usize) -> Result<Tensor> {
    let n = rows.dim(0)? / n_branches;
    let branch = |b: usize| rows.narrow(0, b * n, n)?.affine(0.8 - 0.3 * b as f64, 0.1);
    Ok(Tensor::cat(&(0..n_branches).map(branch).collect::<candle_core::Result<Vec<_>>>()?, 0)?)
}

/// Takes `n` of the front.
fn split_front<T>(all: &mut Vec<T>, n: usize) -> Vec<T> {
    all.drain(..n).collect()
}

/// One iteration of every unfinished generation, all in the same passes.
fn iterate(model: &SynthesisModel, generations: &mut [&mut Generation]) -> Result<bool> {
    let mut running: Vec<(&mut Generation, Iteration)> =
        generations.iter_mut().filter_map(|g| g.next().map(|i| (&mut **g, i))).collect();
    let inputs: Vec<_> = running.iter().flat_map(|(g, i)| g.encode_inputs(i)).collect();
    let mut encoded: Vec<Encoded> = model.encode(&inputs)?;
    let mut decode_inputs = Vec::new();
    for (generation, iteration) in &running {
        let own = split_front(&mut encoded, iteration.images.len());
        let hidden = probe(&probe_rows(&own, generation.n_branches())?, generation.n_branches())?;
        decode_inputs.extend(generation.decode_inputs(iteration, &own, &hidden)?);
    }
    if running.is_empty() {
        return Ok(false);
    }
    let mut decoded: Vec<Decoded> = model.decode(&decode_inputs)?;
    let mut states = Vec::new();
    for (generation, iteration) in &running {
        let own = split_front(&mut decoded, generation.n_branches() * iteration.images.len());
        states.push(generation.head_state(iteration, &own)?);
    }
    sample(model, &running, &mut states)?;
    for ((generation, iteration), state) in running.iter_mut().zip(&states) {
        generation.reveal(iteration, state.x())?;
    }
    Ok(true)
}

fn sample(
    model: &SynthesisModel,
    running: &[(&mut Generation, Iteration)],
    states: &mut [HeadState],
) -> Result<(), GenerationError> {
    while states.iter().any(|s| s.next_step().is_some()) {
        let mut noises = Vec::new();
        for ((generation, iteration), state) in running.iter().zip(states.iter()) {
            let noise = state.next_step().map(|step| generation.head_noise(iteration, step));
            noises.push(noise.transpose()?);
        }
        let pairs = states.iter_mut().zip(&noises);
        let mut steps: Vec<_> =
            pairs.filter_map(|(state, noise)| noise.as_ref().map(|noise| HeadStep { state, noise })).collect();
        model.head.step(&mut steps)?;
    }
    Ok(())
}

fn finish(model: &SynthesisModel, generation: &mut Generation) -> Result<Tensor> {
    while iterate(model, &mut [&mut *generation])? {}
    Ok(generation.latents(&Device::Cpu)?)
}

#[test]
fn a_generation_gives_the_same_bits_alone_and_in_company() -> Result<()> {
    let model = model(Ops::Inference)?;
    let mut together = unlike(&model)?;
    while iterate(&model, &mut together.iter_mut().collect::<Vec<_>>())? {}
    for (i, (alone, together)) in unlike(&model)?.iter_mut().zip(&together).enumerate() {
        let alone = finish(&model, alone)?;
        assert!(same_bits(&alone, &together.latents(&Device::Cpu)?)?, "generation {i}");
    }
    Ok(())
}

#[test]
fn an_image_is_the_same_alone_and_among_others_of_its_request() -> Result<()> {
    let model = model(Ops::Inference)?;
    let all = finish(&model, &mut Generation::seeded(Settings { n_images: 3, ..settings() }, None)?)?;
    for image in 0..3 {
        let settings = Settings { first_image: image, ..settings() };
        let alone = finish(&model, &mut Generation::seeded(settings, None)?)?;
        assert!(same_bits(&alone.get(0)?, &all.get(image as usize)?)?, "image {image}");
    }
    assert!(!same_bits(&all.get(0)?, &all.get(1)?)?, "two images of one request are alike");
    Ok(())
}

#[test]
fn an_iteration_can_be_repeated() -> Result<()> {
    let model = model(Ops::Inference)?;
    let mut generation = Generation::seeded(settings(), None)?;
    iterate(&model, &mut [&mut generation])?;
    let before = generation.next();
    assert_eq!(before, generation.next());
    let iteration = before.context("nothing left")?;
    assert_eq!(generation.encode_inputs(&iteration), generation.encode_inputs(&iteration));
    assert_eq!(generation.head_noise(&iteration, 0)?, generation.head_noise(&iteration, 0)?);
    Ok(())
}

#[test]
fn an_edit_of_some_places_keeps_the_others_latents_bit_for_bit() -> Result<()> {
    let model = model(Ops::Inference)?;
    let (settings, source) = edit(&model)?;
    let mut generation = Generation::seeded(settings.clone(), Some(source.clone()))?.redrawing(&REDRAWN)?;
    let drawn = finish(&model, &mut generation)?.flatten_all()?.to_vec1::<f32>()?;
    for (place, (drawn, source)) in (0..10).zip(drawn.chunks(16).zip(source.latents.chunks(16))) {
        assert_eq!(drawn == source, !REDRAWN.contains(&place), "place {place}");
    }
    // What is kept is seen: with another neighbourhood the same places become something else.
    let whole = finish(&model, &mut Generation::seeded(settings, Some(source))?)?.flatten_all()?.to_vec1::<f32>()?;
    assert!(REDRAWN.iter().any(|&place| drawn[place as usize * 16..][..16] != whole[place as usize * 16..][..16]));
    Ok(())
}

#[test]
fn an_edit_of_all_places_is_an_edit() -> Result<()> {
    let model = model(Ops::Inference)?;
    let (settings, source) = edit(&model)?;
    let plain = finish(&model, &mut Generation::seeded(settings.clone(), Some(source.clone()))?)?;
    let all = finish(&model, &mut Generation::seeded(settings, Some(source))?.redrawing(&EDIT_GRID.places())?)?;
    assert!(same_bits(&plain, &all)?);
    Ok(())
}

#[test]
fn schedules_run_over_the_redrawn_places_alone() -> Result<()> {
    let model = model(Ops::Inference)?;
    let (settings, source) = edit(&model)?;
    let settings = Settings { n_images: 2, guidance_scale: 3.0, ..settings };
    let mut generation = Generation::seeded(settings, Some(source))?.redrawing(&REDRAWN)?;
    assert_eq!((generation.progress().n_known, generation.progress().n_places), (6, 10));
    let iterations = walk(&mut generation)?;
    // Four places in four iterations leave 3, 2, 1 and 0; guidance takes the last by formula, 1.
    assert_eq!(iterations.iter().map(|i| i.n_masked).collect::<Vec<_>>(), [4, 3, 2, 1]);
    assert_eq!(iterations.iter().map(|i| i.guidance).collect::<Vec<_>>(), [1.5, 2.0, 2.5, 2.5]);
    for image in 0..2 {
        assert_eq!(iterations[0].images[image].known, [0, 2, 3, 6, 7, 9], "kept places are known at once");
        let mut revealed: Vec<u32> = iterations.iter().flat_map(|i| i.images[image].reveal.clone()).collect();
        revealed.sort_unstable();
        assert_eq!(revealed, REDRAWN);
    }
    assert_eq!(generation.progress().n_known, 10);
    Ok(())
}

#[test]
fn places_that_no_edit_can_redraw_are_refused() -> Result<()> {
    let model = model(Ops::Inference)?;
    let (settings, source) = edit(&model)?;
    for (places, problem) in [(&[][..], "empty"), (&[3, 1], "raster order"), (&[2, 2], "once"), (&[0, 10], "below 10")]
    {
        let refused = Generation::seeded(settings.clone(), Some(source.clone()))?.redrawing(places);
        let Err(GenerationError::Setting { field: "redrawn_places", problem: told }) = refused else {
            panic!("{places:?}: {refused:?}")
        };
        assert!(told.contains(problem), "{told}");
    }
    let refused = Generation::seeded(settings, None)?.redrawing(&[0]);
    assert!(matches!(refused, Err(GenerationError::Setting { .. })), "without a source");
    Ok(())
}

#[test]
fn both_implementations_of_the_operations_agree() -> Result<()> {
    let [reference, inference] = OPS.map(|ops| {
        let model = model(ops)?;
        // Without guidance, which multiplies rounding errors.
        let settings = Settings { guidance_scale: 1.0, head_steps: 20, ..settings() };
        finish(&model, &mut Generation::seeded(settings, None)?)
    });
    assert_close("latents", &inference?, &reference?, 1e-3)
}

/// Reveals a constant in every iteration; the iterations that took place.
fn walk(generation: &mut Generation) -> Result<Vec<Iteration>> {
    let mut iterations = Vec::new();
    while let Some(iteration) = generation.next() {
        let n_rows: usize = iteration.images.iter().map(|i| i.reveal.len()).sum();
        generation.reveal(&iteration, &vec![1.0; n_rows * 16])?;
        iterations.push(iteration);
    }
    Ok(iterations)
}

#[test]
fn every_place_is_revealed_once_whatever_the_number_of_iterations() -> Result<()> {
    for n_iterations in [1, 2, 5, 12, 13, 40, 1000] {
        let settings = Settings { iterations: n_iterations, n_images: 2, ..settings() };
        let mut generation = Generation::seeded(settings, None)?;
        let iterations = walk(&mut generation)?;
        for image in 0..2 {
            let mut revealed: Vec<u32> = iterations.iter().flat_map(|i| i.images[image].reveal.clone()).collect();
            revealed.sort_unstable();
            assert_eq!(revealed, GRID.places(), "{n_iterations} iterations");
        }
        assert!(iterations.iter().all(|i| i.n_revealed > 0), "an iteration that reveals nothing");
        assert_eq!(iterations.last().map(|i| i.index), Some(n_iterations - 1));
        assert_eq!(generation.progress().n_known, 12);
        assert_eq!(generation.progress().iteration, n_iterations);
    }
    Ok(())
}

#[test]
fn a_single_place_waits_for_the_last_iteration() -> Result<()> {
    let settings = Settings { grid: ImageGrid { rows: 1, cols: 1 }, ..settings() };
    let iterations = walk(&mut Generation::seeded(settings, None)?)?;
    assert_eq!(iterations.iter().map(|i| i.index).collect::<Vec<_>>(), [3]);
    Ok(())
}

#[test]
fn places_known_before_an_iteration_are_those_revealed_earlier() -> Result<()> {
    let mut known: Vec<u32> = Vec::new();
    for iteration in walk(&mut Generation::seeded(settings(), None)?)? {
        let places = &iteration.images[0];
        known.sort_unstable();
        assert_eq!(places.known, known);
        known.extend(&places.reveal);
    }
    Ok(())
}

#[test]
fn guidance_follows_its_schedule() -> Result<()> {
    // 12 places in 4 iterations leave 11, 8, 4 and by formula 1.
    let of = |schedule| -> Result<Vec<f32>> {
        let settings = Settings { guidance_scale: 4.0, guidance_schedule: schedule, ..settings() };
        Ok(walk(&mut Generation::seeded(settings, None)?)?.iter().map(|i| i.guidance).collect())
    };
    assert_eq!(of(GuidanceSchedule::Constant)?, [4.0; 4]);
    assert_eq!(of(GuidanceSchedule::Linear)?, [1.25, 2.0, 3.0, 3.75]);
    Ok(())
}

#[test]
fn unknown_places_of_a_preview_are_zero() -> Result<()> {
    let mut generation = Generation::seeded(settings(), None)?;
    let first = generation.next().context("nothing to do")?;
    generation.reveal(&first, &vec![1.0; first.n_revealed * 16])?;
    let preview = generation.latents(&Device::Cpu)?;
    assert_eq!(preview.dims(), [1, 3, 4, 16]);
    let sum: f32 = preview.sum_all()?.to_scalar()?;
    assert_eq!(sum, (first.n_revealed * 16) as f32);
    Ok(())
}

#[test]
fn recorded_draws_come_back_row_by_row() -> Result<()> {
    for name in ["t2i_cfg3", "t2i_nocfg", "t2i_linear_nonsquare", "edit_cfg3"] {
        let case = case(name)?;
        let draws = RecordedDraws::from_tensors(&case)?;
        let (n_images, rows, cols, _) = case["tokens"].dims4()?;
        let iterations = case.keys().filter(|k| k.ends_with(".init")).count();
        let grid = ImageGrid { rows, cols };
        let settings = Settings { grid, iterations, head_steps: 20, n_images, ..settings() };
        let mut generation = Generation::new(settings, None, Box::new(draws.clone()))?;
        while let Some(iteration) = generation.next() {
            let number = iteration.index;
            let places: Vec<_> =
                (0..).zip(&iteration.images).flat_map(|(n, i)| i.reveal.iter().map(move |p| (n, *p))).collect();
            let init: Vec<f32> =
                places.iter().map(|&(n, p)| draws.init(n, number, p)).collect::<Result<Vec<_>, _>>()?.concat();
            assert_eq!(init, case[&format!("noise.{number}.init")].flatten_all()?.to_vec1::<f32>()?, "{name}");
            let steps = case[&format!("noise.{number}.steps")].get(7)?.flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(generation.head_noise(&iteration, 7)?, steps, "{name}");
            generation.reveal(&iteration, &init)?;
        }
        ensure!(draws.init(9, 0, 0).is_err() && draws.order(0, 5).is_err(), "draws that were not recorded");
    }
    Ok(())
}

#[test]
fn settings_that_allow_no_image_are_refused_by_name() {
    let base = settings;
    let cases = [
        ("grid", Settings { grid: ImageGrid { rows: 0, cols: 4 }, ..base() }),
        ("grid", Settings { grid: ImageGrid { rows: usize::MAX, cols: 2 }, ..base() }),
        ("iterations", Settings { iterations: 0, ..base() }),
        ("head_steps", Settings { head_steps: 0, ..base() }),
        ("head_steps", Settings { head_steps: 1001, ..base() }),
        ("guidance_scale", Settings { guidance_scale: f64::NAN, ..base() }),
        ("guidance_scale", Settings { guidance_scale: 1e300, ..base() }),
        ("temperature", Settings { temperature: f64::INFINITY, ..base() }),
        ("temperature", Settings { temperature: -0.1, ..base() }),
        ("n_images", Settings { n_images: 0, ..base() }),
        ("n_images", Settings { n_images: 2, first_image: u32::MAX, ..base() }),
    ];
    for (expected, settings) in cases {
        match Generation::seeded(settings.clone(), None) {
            Err(GenerationError::Setting { field, .. }) => assert_eq!(field, expected),
            other => panic!("{settings:?}: {other:?}"),
        }
    }
}

#[test]
fn results_that_do_not_fit_are_refused_and_change_nothing() -> Result<()> {
    let model = model(Ops::Inference)?;
    let mut generation = Generation::seeded(settings(), None)?;
    let first = generation.next().context("nothing to do")?;
    let n = first.n_revealed * 16;
    assert!(matches!(generation.reveal(&first, &vec![0.0; n + 1]), Err(GenerationError::Mismatch(_))));
    assert!(matches!(generation.reveal(&first, &vec![f32::NAN; n]), Err(GenerationError::NotFinite)));
    let encoded = model.encode(&generation.encode_inputs(&first))?;
    let hidden = probe_rows(&encoded, 1)?;
    assert!(generation.decode_inputs(&first, &encoded, &hidden).is_err(), "one branch of two");
    assert_eq!(generation.next().as_ref(), Some(&first));
    generation.reveal(&first, &vec![0.0; n])?;
    assert!(matches!(generation.reveal(&first, &vec![0.0; n]), Err(GenerationError::Mismatch(_))), "twice");
    let source = model.source(&Tensor::zeros((4, 3, 16), candle_core::DType::F32, &Device::Cpu)?)?;
    assert!(Generation::seeded(settings(), Some(source)).is_err(), "a source of another grid");
    Ok(())
}
