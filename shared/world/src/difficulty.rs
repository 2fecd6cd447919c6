//! The knobs of a data recipe.

use serde::{Deserialize, Serialize};

use crate::{Category, Size, WorldError};

/// How hard the drawn scenes and prompts are. Every knob has a default, the one of [`Difficulty::full`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Difficulty {
    /// Top left corners of bounding boxes stand on multiples of this fraction of the image side, 0 to 0.5; 0 is anywhere.
    pub lattice: f32,
    /// Relative deviation of a side from its size, 0 to 0.1; 0 is exactly the three sizes.
    pub size_jitter: f32,
    /// Share of objects (and of coloured backgrounds) that have a texture, 0 to 1.
    pub textured_share: f32,
    /// Share of scenes with a background other than plain white, 0 to 1. White objects need one.
    pub background_share: f32,
    /// Sizes that objects may have; not empty.
    pub sizes: Vec<Size>,
    /// Most objects in a scene, 1 to 6; prompts about two objects have two all the same.
    pub n_objects_max: usize,
    /// Share of prompts about one object that say its place, 0 to 1.
    pub place_share: f32,
    /// Share of prompts about one object that say its size, 0 to 1.
    pub size_share: f32,
    /// Share of prompts in another than the plain phrasing, 0 to 1.
    pub rephrased_share: f32,
    /// Share of prompts whose objects stand where the prompt alone puts them: one in the middle, two side by side in the
    /// order of their mention, and so on. A picture then follows from its words, which small models learn first; the
    /// other prompts have any arrangement that fits them, 0 to 1. In as many pictures to ask about and to edit, objects
    /// have their centres on quarters of the image, as these have: what is learnt by drawing then serves there too.
    pub arranged_share: f32,
    /// Share of the later questions of a conversation that ask for a list, of every shape with its colour and the like, 0
    /// to 1.
    pub listing_share: f32,
    /// How often each category is drawn.
    pub categories: CategoryWeights,
}

/// Relative weights of the six categories; not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CategoryWeights {
    /// "a star".
    pub single_object: f32,
    /// "a circle and a square".
    pub two_objects: f32,
    /// "three triangles".
    pub counting: f32,
    /// "a red star".
    pub colours: f32,
    /// "a red circle above a blue square".
    pub position: f32,
    /// "a red circle and a blue square".
    pub attribute_binding: f32,
}

impl Default for CategoryWeights {
    fn default() -> Self {
        Self {
            single_object: 1.0,
            two_objects: 1.0,
            counting: 1.0,
            colours: 1.0,
            position: 1.0,
            attribute_binding: 1.0,
        }
    }
}

impl CategoryWeights {
    /// The weights in the order of [`Category::ALL`].
    #[must_use]
    pub fn in_order(&self) -> [f32; 6] {
        [self.single_object, self.two_objects, self.counting, self.colours, self.position, self.attribute_binding]
    }

    /// The weight of one category.
    #[must_use]
    pub fn of(&self, category: Category) -> f32 {
        self.in_order()[category as usize]
    }
}

impl Default for Difficulty {
    fn default() -> Self {
        Self::full()
    }
}

impl Difficulty {
    /// Boxes on a lattice of an eighth (one 16-pixel patch of a 128-pixel image), two exact sizes, no textures, few
    /// backgrounds.
    #[must_use]
    pub fn easy() -> Self {
        Self {
            lattice: 0.125,
            size_jitter: 0.0,
            textured_share: 0.0,
            background_share: 0.1,
            sizes: vec![Size::Small, Size::Medium],
            n_objects_max: 4,
            place_share: 0.15,
            size_share: 0.1,
            rephrased_share: 0.15,
            arranged_share: 0.0,
            listing_share: 0.0,
            categories: CategoryWeights::default(),
        }
    }

    /// Boxes anywhere, three sizes with jitter, textures and backgrounds.
    #[must_use]
    pub fn full() -> Self {
        Self {
            lattice: 0.0,
            size_jitter: 0.08,
            textured_share: 0.25,
            background_share: 0.4,
            sizes: Size::ALL.to_vec(),
            n_objects_max: 4,
            place_share: 0.25,
            size_share: 0.25,
            rephrased_share: 0.3,
            arranged_share: 0.0,
            listing_share: 0.0,
            categories: CategoryWeights::default(),
        }
    }

    /// What the embedded model nano is judged on, and was trained on with other shares: medium objects without textures, standing where the prompt alone puts them
    /// (in pictures to ask about and to edit, on quarters of the image), mostly on white.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            lattice: 0.25,
            size_jitter: 0.0,
            textured_share: 0.0,
            background_share: 0.15,
            sizes: vec![Size::Medium],
            n_objects_max: 4,
            place_share: 0.3,
            size_share: 0.0,
            rephrased_share: 0.1,
            arranged_share: 1.0,
            listing_share: 0.0,
            categories: CategoryWeights::default(),
        }
    }

    /// Refuses knobs outside their range. [`Sampler`](crate::Sampler) itself takes any values and treats those outside
    /// as the nearest allowed ones, so that sampling never fails; recipes are checked when they are read.
    ///
    /// # Errors
    /// [`WorldError::Knob`] names the first knob that is wrong.
    pub fn check(&self) -> Result<(), WorldError> {
        let ranges = [
            ("lattice", self.lattice, 0.5, "a number from 0 to 0.5"),
            ("size_jitter", self.size_jitter, 0.1, "a number from 0 to 0.1"),
            ("textured_share", self.textured_share, 1.0, "a share from 0 to 1"),
            ("background_share", self.background_share, 1.0, "a share from 0 to 1"),
            ("place_share", self.place_share, 1.0, "a share from 0 to 1"),
            ("size_share", self.size_share, 1.0, "a share from 0 to 1"),
            ("rephrased_share", self.rephrased_share, 1.0, "a share from 0 to 1"),
            ("arranged_share", self.arranged_share, 1.0, "a share from 0 to 1"),
            ("listing_share", self.listing_share, 1.0, "a share from 0 to 1"),
        ];
        for (knob, value, most, wanted) in ranges {
            if !(0.0..=most).contains(&value) {
                return Err(WorldError::Knob { knob, value: value.to_string(), wanted });
            }
        }
        if self.sizes.is_empty() {
            return Err(WorldError::Knob { knob: "sizes", value: "empty".to_owned(), wanted: "at least one size" });
        }
        if !(1..=6).contains(&self.n_objects_max) {
            let value = self.n_objects_max.to_string();
            return Err(WorldError::Knob { knob: "n_objects_max", value, wanted: "a number from 1 to 6" });
        }
        let weights = self.categories.in_order();
        if weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0) || weights.iter().sum::<f32>() <= 0.0 {
            let value = format!("{weights:?}");
            return Err(WorldError::Knob { knob: "categories", value, wanted: "weights of 0 or more, not all 0" });
        }
        Ok(())
    }

    /// The same with every knob in its range.
    pub(crate) fn in_range(mut self) -> Self {
        let share = |value: f32| if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
        self.lattice = share(self.lattice).min(0.5);
        self.size_jitter = share(self.size_jitter).min(0.1);
        self.textured_share = share(self.textured_share);
        self.background_share = share(self.background_share);
        self.place_share = share(self.place_share);
        self.size_share = share(self.size_share);
        self.rephrased_share = share(self.rephrased_share);
        self.arranged_share = share(self.arranged_share);
        self.n_objects_max = self.n_objects_max.clamp(1, 6);
        if self.sizes.is_empty() {
            self.sizes = Size::ALL.to_vec();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_in_range_and_bad_knobs_are_named() {
        assert_eq!(Difficulty::nano().check(), Ok(()));
        assert_eq!(Difficulty::easy().check(), Ok(()));
        assert_eq!(Difficulty::full().check(), Ok(()));
        let named = |change: fn(&mut Difficulty), knob: &str| {
            let mut difficulty = Difficulty::full();
            change(&mut difficulty);
            let message = difficulty.check().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(knob), "{knob}: {message}");
            let mended = difficulty.in_range();
            assert!((0.0..=0.5).contains(&mended.lattice) && !mended.sizes.is_empty());
        };
        named(|d| d.lattice = 0.7, "lattice");
        named(|d| d.textured_share = f32::NAN, "textured_share");
        named(|d| d.sizes.clear(), "sizes");
        named(|d| d.categories.position = -1.0, "categories");
    }

    #[test]
    fn a_recipe_may_leave_knobs_out_but_not_invent_them() {
        let read: Difficulty = serde_json::from_str(r#"{"lattice": 0.125, "categories": {"counting": 2.0}}"#).unwrap();
        assert_eq!((read.lattice, read.categories.counting, read.categories.colours), (0.125, 2.0, 1.0));
        assert_eq!(read.sizes, Size::ALL);
        assert!(serde_json::from_str::<Difficulty>(r#"{"latice": 0.125}"#).is_err());
    }
}
