//! MAR against the published implementation, and images in company against the same alone.

mod support;

use std::collections::HashMap;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use support::{OPS, grids, images, model, normals};
use unipic_models::generation::{DecodeInput, EncodeInput, ImageGrid, Source, SynthesisModel};
use unipic_models::mar::{Canvas, Visible};
use unipic_nn::{Dropout, Ops};
use unipic_test_support::{assert_close, case, same_bits};

const BOUND: f64 = 1e-4;

/// The images of a case, each with its known places.
fn inputs(case: &HashMap<String, Tensor>) -> Result<Vec<EncodeInput>> {
    let (n_images, ..) = case["latents"].dims4()?;
    let input = |i: usize| {
        let mut input = EncodeInput::known(&case["latents"].get(i)?)?;
        let mask: Vec<f32> = case["mask"].get(i)?.to_vec1()?;
        let known = |place: &u32| mask[*place as usize] == 0.0;
        let latents = input.places.iter().filter(|p| known(p)).flat_map(|&p| &input.latents[p as usize * 16..][..16]);
        input.latents = latents.copied().collect();
        input.places.retain(known);
        Ok(input)
    };
    (0..n_images).map(input).collect()
}

fn check_case(name: &str) -> Result<()> {
    let case = case(name)?;
    for ops in OPS {
        let model = model(ops)?;
        let inputs = inputs(&case)?;
        let encoded = model.encode(&inputs)?;
        let x_enc: Vec<_> = encoded.iter().map(|e| e.x_enc.clone()).collect();
        assert_close("x_enc", &Tensor::stack(&x_enc, 0)?, &case["x_enc"], BOUND)?;
        let z_enc: Vec<_> = encoded.iter().map(|e| e.z_enc.clone()).collect();
        assert_close("z_enc", &Tensor::stack(&z_enc, 0)?, &case["z_enc"], BOUND)?;
        let sources =
            (0..inputs.len()).map(|i| Ok(model.source(&case["latents"].get(i)?)?)).collect::<Result<Vec<_>>>()?;
        let x_con: Vec<_> = sources.iter().map(|s: &Source| s.x_con.clone()).collect();
        assert_close("x_con", &Tensor::stack(&x_con, 0)?, &case["x_con"], BOUND)?;
        let z_full: Vec<_> = sources.iter().map(|s| s.z_full.clone()).collect();
        assert_close("z_full", &Tensor::stack(&z_full, 0)?, &case["z_full"], BOUND)?;
        for (quantity, with_source) in [("decoded", false), ("decoded_with_x_con", true)] {
            let places: Vec<_> = inputs.iter().map(|i| i.grid.places()).collect();
            let canvas = |i: usize| Canvas {
                grid: inputs[i].grid,
                places: &inputs[i].places,
                reveal: &places[i],
                source: with_source.then_some(&sources[i].embedded),
            };
            let canvases: Vec<_> = (0..inputs.len()).map(canvas).collect();
            let decoded = model.decoder.forward(&Tensor::cat(&x_enc, 0)?, &canvases)?;
            assert_close(quantity, &decoded.reshape(case[quantity].shape())?, &case[quantity], BOUND)?;
        }
    }
    Ok(())
}

#[test]
fn equals_the_published_mar_on_its_base_grid() -> Result<()> {
    check_case("mar_0")
}

#[test]
fn equals_the_published_mar_on_a_larger_grid() -> Result<()> {
    check_case("mar_1")
}

#[test]
fn an_image_encodes_to_the_same_bits_alone_and_in_company() -> Result<()> {
    let model = model(Ops::Inference)?;
    let images = images();
    let together = model.encode(&images)?;
    for (image, together) in images.iter().zip(&together) {
        let alone = &model.encode(std::slice::from_ref(image))?[0];
        assert!(same_bits(&alone.x_enc, &together.x_enc)?, "{:?}", image.grid);
        assert!(same_bits(&alone.z_enc, &together.z_enc)?, "{:?}", image.grid);
    }
    Ok(())
}

/// Decoder inputs of all images; every other one is an edit.
fn decode_inputs(model: &SynthesisModel) -> Result<Vec<DecodeInput>> {
    let images = images();
    let encoded = model.encode(&images)?;
    let mut inputs = Vec::new();
    for (i, (image, encoded)) in images.iter().zip(encoded).enumerate() {
        let unknown: Vec<u32> = image.grid.places().into_iter().filter(|p| !image.places.contains(p)).collect();
        let (rows, width) = encoded.z_enc.dims2()?;
        let ImageGrid { rows: m, cols: n } = image.grid;
        let latents = Tensor::from_vec(normals(m * n * 16, 3), (m, n, 16), &Device::Cpu)?;
        inputs.push(DecodeInput {
            grid: image.grid,
            places: image.places.clone(),
            reveal: unknown.into_iter().step_by(2).collect(),
            x_enc: encoded.x_enc,
            hidden: Tensor::from_vec(normals(rows * width, i as u64), (rows, width), &Device::Cpu)?,
            source: (i % 2 == 1).then(|| model.source(&latents)).transpose()?,
        });
    }
    Ok(inputs)
}

#[test]
fn an_image_decodes_to_the_same_bits_alone_and_in_company() -> Result<()> {
    let model = model(Ops::Inference)?;
    let inputs = decode_inputs(&model)?;
    let together = model.decode(&inputs)?;
    for (input, together) in inputs.iter().zip(&together) {
        let alone = &model.decode(std::slice::from_ref(input))?[0];
        assert!(same_bits(&alone.z, &together.z)?, "{:?}", input.grid);
        assert!(same_bits(&alone.condition, &together.condition)?, "{:?}", input.grid);
    }
    Ok(())
}

#[test]
fn rows_to_reveal_equal_those_of_the_whole_image() -> Result<()> {
    let model = model(Ops::Inference)?;
    for input in decode_inputs(&model)? {
        let whole = &model.decode(&[DecodeInput { reveal: input.grid.places(), ..input.clone() }])?[0];
        let some = &model.decode(std::slice::from_ref(&input))?[0];
        let rows = Tensor::new(input.reveal.as_slice(), &Device::Cpu)?;
        assert!(same_bits(&whole.z.index_select(&rows, 0)?, &some.z)?, "{:?}", input.grid);
    }
    Ok(())
}

#[test]
fn inconsistent_inputs_are_errors() -> Result<()> {
    let model = model(Ops::Inference)?;
    let grid = ImageGrid { rows: 2, cols: 3 };
    let refused = |grid, places: &[u32], n_values| {
        let input = EncodeInput { grid, places: places.to_vec(), latents: vec![0.0; n_values] };
        model.encode(&[input]).is_err()
    };
    assert!(refused(grid, &[6], 16), "a place off the grid");
    assert!(refused(grid, &[1, 0], 32), "places out of order");
    assert!(refused(grid, &[1, 1], 32), "a place twice");
    assert!(refused(grid, &[1], 15), "too few values");
    assert!(refused(ImageGrid { rows: 0, cols: 3 }, &[], 0), "an empty grid");
    assert!(EncodeInput::known(&Tensor::zeros((2, 3, 15), DType::F32, &Device::Cpu)?).is_err());
    let mut input = decode_inputs(&model)?.remove(1);
    input.grid = ImageGrid { rows: 9, cols: 9 };
    assert!(model.decode(&[input]).is_err(), "a source of another grid");
    Ok(())
}

#[test]
fn more_grids_than_are_cached_give_the_same_again() -> Result<()> {
    let model = model(Ops::Inference)?;
    let run = || -> Result<Vec<Tensor>> {
        let of = |grid| model.encode(&[EncodeInput { grid, places: vec![0], latents: vec![0.5; 16] }]);
        grids().into_iter().map(|grid| Ok(of(grid)?.remove(0).x_enc)).collect()
    };
    for (first, second) in run()?.iter().zip(run()?) {
        assert!(same_bits(first, &second)?);
    }
    Ok(())
}

#[test]
fn dropout_follows_from_its_key_and_leaves_nothing_behind() -> Result<()> {
    let model = model(Ops::Training)?;
    let grid = ImageGrid { rows: 3, cols: 4 };
    let (latents, places) = (Tensor::from_vec(normals(12 * 16, 1), (12, 16), &Device::Cpu)?, grid.places());
    let run = |dropout: Option<Dropout>| {
        let encoder = model.encoder.with_dropout(dropout);
        encoder.forward(Some(&latents), &[Visible { grid, places: &places }])
    };
    let plain = model.encoder.forward(Some(&latents), &[Visible { grid, places: &places }])?;
    assert!(same_bits(&plain, &run(None)?)?);
    assert!(same_bits(&run(Dropout::new(0.1, 3))?, &run(Dropout::new(0.1, 3))?)?);
    assert!(!same_bits(&run(Dropout::new(0.1, 3))?, &plain)?);
    assert!(!same_bits(&run(Dropout::new(0.1, 3))?, &run(Dropout::new(0.1, 4))?)?);
    Ok(())
}
