//! The weights that a run begins with.

use candle_core::Device;
use unipic_weights::Part;
use unipic_weights::config::ModelConfig;
use unipic_weights::manifest::{self, TensorSpec};

use crate::TrainError;
use crate::parameters::Parameters;
use crate::recipe::Recipe;

/// Weights and sizes to begin with.
pub(super) fn begin(recipe: &Recipe, device: &Device) -> Result<(Parameters, ModelConfig), TrainError> {
    let Some(folder) = &recipe.begin_with else {
        return Ok((Parameters::random(&recipe.model, recipe.seed, device)?, recipe.model.clone()));
    };
    let checkpoint = unipic_models::load::open(folder)?;
    let parts = recipe.begin_parts().map_err(TrainError::Data)?;
    let mut config = recipe.model.clone();
    if parts.contains(&Part::Vae) {
        config.vae.scale = checkpoint.config().vae.scale;
    }
    let (ours, theirs) = (manifest::tensors(&config, &parts), manifest::tensors(checkpoint.config(), &parts));
    if let Some((part, what)) = difference(&ours, &theirs) {
        let why = format!(
            "begin_with: {} has other sizes than `model`: {what}; give `model` its sizes, or name in `begin_parts` the parts \
             to take, without `{}`",
            folder.display(),
            part.label()
        );
        return Err(TrainError::Data(why));
    }
    let taken = Parameters::of_checkpoint(&checkpoint, &parts, device)?;
    let random = Parameters::random(&config, recipe.seed, device)?;
    Ok((taken.completed(random), config))
}

/// The first tensor in which two models differ: its part, and both shapes in words.
fn difference(ours: &[TensorSpec], theirs: &[TensorSpec]) -> Option<(Part, String)> {
    let of = |specs: &[TensorSpec], name: &str| specs.iter().find(|spec| spec.name == name).cloned();
    let (ours_first, theirs_first) = ours
        .iter()
        .zip(theirs)
        .find(|(a, b)| a != b)
        .map_or_else(|| (ours.get(theirs.len()), theirs.get(ours.len())), |(a, b)| (Some(a), Some(b)));
    let spec = ours_first.or(theirs_first)?;
    let shape =
        |spec: Option<TensorSpec>| spec.map_or("is not there".to_owned(), |spec| format!("is {:?}", spec.shape));
    let (here, there) = (shape(of(ours, &spec.name)), shape(of(theirs, &spec.name)));
    Some((spec.part, format!("`{}` {there} in it and {here} in `model`", spec.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tensor_that_differs_is_named_with_both_shapes() {
        let spec = |name: &str, shape: &[usize]| TensorSpec { name: name.into(), shape: shape.into(), part: Part::Llm };
        let both = [spec("a", &[2]), spec("b", &[3, 4])];
        assert_eq!(difference(&both, &both), None);
        let told = |theirs: &[TensorSpec]| difference(&both, theirs).unwrap().1;
        assert_eq!(told(&[spec("a", &[2]), spec("b", &[5, 4])]), "`b` is [5, 4] in it and is [3, 4] in `model`");
        assert_eq!(told(&both[..1]), "`b` is not there in it and is [3, 4] in `model`");
        let more = [&both[..], &[spec("c", &[1])]].concat();
        assert_eq!(told(&more), "`c` is [1] in it and is not there in `model`");
    }
}
