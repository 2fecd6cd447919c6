//! Which variables learn from what.

use super::*;

/// All tasks and both ways of understanding.
fn joint(model: &TrainModel) -> Tensor {
    let (batch, draws) = (Batch::new(), draws(2));
    let losses = [
        (1.0, generate(model, &batch.generation(), &draws).unwrap().loss),
        (0.5, edit(model, &batch.edit(), &draws).unwrap().loss),
        (0.25, understand(model, &batch.understanding(false)).unwrap().loss),
        (0.125, understand(model, &batch.understanding(true)).unwrap().loss),
    ];
    total(&losses).unwrap()
}

#[test]
fn every_variable_but_the_autoencoders_learns_from_the_joint_loss() {
    let parameters = parameters();
    let (_, gradients) = descend(&parameters, &joint(&model(&parameters, &Part::ALL)));
    for name in parameters.vars().keys() {
        match Part::of(name) {
            Some(Part::Vae) => assert!(!gradients.contains_key(name), "{name}"),
            _ => {
                let size = gradients.get(name).map(largest);
                assert!(size.is_some_and(|size| size.is_finite() && size > 0.0), "{name}: {size:?}");
            }
        }
    }
}

#[test]
fn frozen_parts_learn_nothing_and_leave_the_others_gradients_alone() {
    let parameters = parameters();
    let (loss, all) = descend(&parameters, &joint(&model(&parameters, &Part::ALL)));
    for trained in [&[Part::Mar, Part::Projectors][..], &[Part::SiglipProjector], &[Part::Llm]] {
        let ours = descend(&parameters, &joint(&model(&parameters, trained)));
        let learns = |name: &String| Part::of(name).is_some_and(|part| trained.contains(&part));
        let expected = all.iter().filter(|(name, _)| learns(name)).map(|(n, g)| (n.clone(), g.clone()));
        assert_same(&ours, &(loss, expected.collect()));
    }
}

#[test]
fn a_model_follows_its_variables() {
    let parameters = parameters();
    let kept = model(&parameters, &Part::ALL);
    let before = joint(&kept).to_scalar::<f32>().unwrap();
    for var in parameters.vars().values() {
        var.set(&(var.as_tensor() * 1.02).unwrap()).unwrap();
    }
    let after = descend(&parameters, &joint(&kept));
    assert!((after.0 - before).abs() > 1e-4);
    assert_same(&after, &descend(&parameters, &joint(&model(&parameters, &Part::ALL))));
}

#[test]
fn a_scaled_gradient_leaves_the_value_alone() {
    let x = candle_core::Var::new(&[1.5_f32, -2.0], &Device::Cpu).unwrap();
    let scaled = scale_gradient(x.as_tensor(), INPUT_GRADIENT).unwrap();
    assert!(largest(&(&scaled - x.as_tensor()).unwrap()) < 1e-6);
    let gradients = scaled.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let expected = (x.as_tensor() * (2.0 * INPUT_GRADIENT)).unwrap();
    assert!(largest(&(gradients.get(&x).unwrap() - expected).unwrap()) < 1e-6);
}
