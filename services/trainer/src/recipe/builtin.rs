//! The recipes that are part of the program, so that a run can be named in a word and is the same everywhere.

use super::Recipe;
use crate::TrainError;

/// Names and texts.
const RECIPES: [(&str, &str); 2] = [
    ("nano", include_str!("../../recipes/nano.toml")),
    ("unipic-1.5b", include_str!("../../recipes/unipic-1.5b.toml")),
];

/// The names of all of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|(name, _)| *name)
}

/// The text of a recipe, comments and all; none where there is none of that name.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    RECIPES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The recipe of a name; none where there is none of that name.
///
/// # Errors
/// As [`Recipe::parse`]: never, unless the program was built with a wrong recipe.
pub fn builtin(name: &str) -> Option<Result<Recipe, TrainError>> {
    Some(Recipe::parse(text(name)?).map_err(|why| TrainError::Recipe { path: name.into(), why }))
}

#[cfg(test)]
mod tests {
    use unipic_weights::config::ModelConfig;

    use super::*;

    #[test]
    fn every_recipe_is_sound_and_of_its_own_model() {
        for name in names() {
            let recipe = builtin(name).unwrap().unwrap();
            assert_eq!(recipe.model.name, name);
        }
        assert!(builtin("femto").is_none() && text("femto").is_none());
    }

    #[test]
    fn the_large_recipe_is_the_published_schedule() {
        let recipe = builtin("unipic-1.5b").unwrap().unwrap();
        assert_eq!(recipe.model, ModelConfig::unipic_1_5b());
        let rates: Vec<f64> = recipe.stages.iter().map(|stage| stage.learning_rate).collect();
        assert_eq!(rates, [5e-5, 1e-5, 1e-5, 5e-6]);
        let averages: Vec<f64> = recipe.stages.iter().map(|stage| stage.ema).collect();
        assert_eq!(averages, [0.9999, 0.0, 0.9999, 0.995]);
        let sizes: Vec<usize> = recipe.stages.iter().filter_map(|s| Some(s.joint.as_ref()?.resolution)).collect();
        assert_eq!(sizes, [512, 1024, 1024, 1024]);
        for stage in &recipe.stages {
            assert!(!stage.train.contains(&"vae".to_owned()), "the autoencoder is frozen throughout");
            assert_eq!((stage.betas, stage.clip), ((0.9, 0.95), 1.0));
        }
        assert!(!recipe.stages[1].train.contains(&"llm".to_owned()));
        assert!(recipe.stages[2].train.contains(&"llm".to_owned()));
    }
}
