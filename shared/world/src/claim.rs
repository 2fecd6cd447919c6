//! What a prompt asks for, in a form that a picture can be held against.
//!
//! A claim never says how it was worded, so the drawn scene, the words and the judge share one meaning. It is as strict
//! as GenEval: every wanted thing must be there in the exact number, and nothing else.

use serde::{Deserialize, Serialize};

use crate::{Background, Colour, Object, Place, Relation, Scene, Shape, Size, Texture};

/// One group of equal things that a prompt asks for; what is `None` was not said and may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wanted {
    /// Form.
    pub shape: Shape,
    /// Colour, where said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// Texture, where said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texture: Option<Texture>,
    /// Size, where said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// How many.
    pub count: usize,
    /// Where, where said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Everything a prompt asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// The things, in the order of the prompt.
    pub wanted: Vec<Wanted>,
    /// How the first wanted thing stands to the second, where said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    /// The background, where said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<Background>,
}

/// An object as far as it is known, whether read from a scene or seen in pixels; what is `None` fits no claim about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thing {
    /// Form.
    pub shape: Option<Shape>,
    /// Colour.
    pub colour: Option<Colour>,
    /// Texture.
    pub texture: Option<Texture>,
    /// Side of the bounding box in fractions of the image side.
    pub side: f32,
    /// Centre (x, y) of the bounding box in fractions of the image side.
    pub centre: (f32, f32),
}

/// Why a picture does not fit a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// Another number of things in all.
    #[error("{found} objects in the picture, {wanted} wanted")]
    Number {
        /// How many the claim wants in all.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// Too few things of a wanted kind.
    #[error("{found} of {count} found: {what}")]
    Missing {
        /// What was wanted, in words.
        what: String,
        /// How many of it.
        count: usize,
        /// How many there are.
        found: usize,
    },
    /// The things are there but stand differently.
    #[error("the first is not {relation} the second")]
    Relation {
        /// What was wanted.
        relation: Relation,
    },
    /// Another background.
    #[error("the background is not {colour} and {texture}")]
    Background {
        /// The wanted colour.
        colour: Colour,
        /// The wanted texture.
        texture: Texture,
    },
}

impl From<&Object> for Thing {
    fn from(object: &Object) -> Self {
        Self {
            shape: Some(object.shape),
            colour: Some(object.colour),
            texture: Some(object.texture),
            side: object.side,
            centre: object.centre,
        }
    }
}

impl Wanted {
    /// One thing of a shape of which nothing else is said.
    #[must_use]
    pub fn one(shape: Shape) -> Self {
        Self { shape, colour: None, texture: None, size: None, count: 1, place: None }
    }

    /// Whether a thing is of this kind and at its place.
    #[must_use]
    pub fn is_met_by(&self, thing: &Thing) -> bool {
        thing.shape == Some(self.shape)
            && self.colour.is_none_or(|colour| thing.colour == Some(colour))
            && self.texture.is_none_or(|texture| thing.texture == Some(texture))
            && self.size.is_none_or(|size| Size::nearest(thing.side) == size)
            && self.place.is_none_or(|place| place.holds(thing.centre))
    }
}

impl Claim {
    /// Whether a scene is all that is asked for and nothing else.
    #[must_use]
    pub fn fits(&self, scene: &Scene) -> bool {
        let things: Vec<Thing> = scene.objects.iter().map(Thing::from).collect();
        self.check(Some(scene.background.colour), Some(scene.background.texture), &things).is_ok()
    }

    /// Holds things and a background against the claim.
    ///
    /// # Errors
    /// The first [`Mismatch`] found: number, kinds, relation, background, in this order.
    pub fn check(&self, colour: Option<Colour>, texture: Option<Texture>, things: &[Thing]) -> Result<(), Mismatch> {
        let slots: Vec<usize> =
            self.wanted.iter().enumerate().flat_map(|(at, wanted)| std::iter::repeat_n(at, wanted.count)).collect();
        if slots.len() != things.len() {
            return Err(Mismatch::Number { wanted: slots.len(), found: things.len() });
        }
        if !self.assign(&slots, things, &mut Vec::new(), false) {
            return Err(self.first_missing(things));
        }
        if let Some(relation) = self.relation
            && !self.assign(&slots, things, &mut Vec::new(), true)
        {
            return Err(Mismatch::Relation { relation });
        }
        match self.background {
            Some(wanted) if Some(wanted.colour) != colour || Some(wanted.texture) != texture => {
                Err(Mismatch::Background { colour: wanted.colour, texture: wanted.texture })
            }
            _ => Ok(()),
        }
    }

    /// Whether the things from `taken.len()` on can be given to the slots so that each is met; a search over at most a
    /// few hundred orders, since claims have at most six things.
    fn assign(&self, slots: &[usize], things: &[Thing], taken: &mut Vec<usize>, related: bool) -> bool {
        let Some(&slot) = slots.get(taken.len()) else {
            return !related || self.relation_holds(slots, things, taken);
        };
        (0..things.len()).any(|at| {
            if taken.contains(&at) || !self.wanted[slot].is_met_by(&things[at]) {
                return false;
            }
            taken.push(at);
            let fits = self.assign(slots, things, taken, related);
            taken.pop();
            fits
        })
    }

    /// Whether every thing given to the first group stands as said to every thing given to the second.
    fn relation_holds(&self, slots: &[usize], things: &[Thing], taken: &[usize]) -> bool {
        let given = |group: usize| {
            slots.iter().zip(taken).filter(move |&(&slot, _)| slot == group).map(|(_, &at)| things[at].centre)
        };
        self.relation.is_none_or(|relation| given(0).all(|first| given(1).all(|second| relation.holds(first, second))))
    }

    fn first_missing(&self, things: &[Thing]) -> Mismatch {
        let short = |wanted: &&Wanted| things.iter().filter(|thing| wanted.is_met_by(thing)).count() < wanted.count;
        let missing = self.wanted.iter().find(short).or(self.wanted.first());
        missing.map_or(Mismatch::Number { wanted: 0, found: things.len() }, |wanted| Mismatch::Missing {
            what: wanted.text(),
            count: wanted.count,
            found: things.iter().filter(|thing| wanted.is_met_by(thing)).count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(shape: Shape, colour: Colour, centre: (f32, f32)) -> Object {
        Object { shape, colour, texture: Texture::Plain, centre, side: 0.25 }
    }

    #[test]
    fn a_claim_is_strict() {
        let red = object(Shape::Circle, Colour::Red, (0.25, 0.25));
        let blue = object(Shape::Circle, Colour::Blue, (0.25, 0.75));
        let scene = Scene { background: Background::WHITE, objects: vec![red, blue] };
        let any = Wanted::one(Shape::Circle);
        let only_red = Wanted { colour: Some(Colour::Red), ..any };
        let claim = |wanted: Vec<Wanted>, relation| Claim { wanted, relation, background: None };
        // "a circle and a red circle" needs the red one kept for the second place.
        assert!(claim(vec![any, only_red], None).fits(&scene));
        assert!(claim(vec![any, only_red], Some(Relation::Below)).fits(&scene));
        assert!(!claim(vec![any, only_red], Some(Relation::Above)).fits(&scene));
        assert!(claim(vec![Wanted { count: 2, ..any }], None).fits(&scene));
        assert!(!claim(vec![only_red], None).fits(&scene), "nothing else may be there");
        assert!(!claim(vec![Wanted { count: 2, ..only_red }], None).fits(&scene));
        let yellow = Background { colour: Colour::Yellow, texture: Texture::Plain };
        let on_yellow = Claim { background: Some(yellow), ..claim(vec![any, any], None) };
        assert!(!on_yellow.fits(&scene));
    }
}
