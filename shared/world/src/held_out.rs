//! Which combinations training never sees, so that an evaluation measures composition and not memory.
//!
//! A combination is held out by a hash of itself alone: neither seeds nor recipes nor the order of drawing move the
//! border, so two training runs and every evaluation agree on it without sharing a file.

use serde::{Deserialize, Serialize};

use crate::random::hash;
use crate::{Colour, EditKind, Place, Relation, Shape, Size};

/// One combination in so many is held out.
pub const HELD_OUT_ONE_IN: u64 = 8;

/// Which side of the border a sampler draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Only combinations that are not held out.
    Train,
    /// Only combinations that are.
    HeldOut,
}

/// What is new about a sample. Build it by the constructors, which put equal combinations into one form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combination {
    /// One object: form, colour, size and place (`None` where the prompt names none).
    One(Shape, Colour, Size, Option<Place>),
    /// Two objects, and how the first stands to the second where that is said.
    Pair((Shape, Colour), (Shape, Colour), Option<Relation>),
    /// A number of equal objects.
    Count(usize, Shape, Colour),
    /// Any objects together, in ascending order.
    Many(Vec<(Shape, Colour)>),
    /// An edit of an object: kind, form, colour, and a number for what the object becomes.
    Edit(EditKind, Shape, Colour, u64),
}

impl Combination {
    /// Two objects; the order does not matter unless a relation is said, and "a above b" equals "b below a".
    #[must_use]
    pub fn pair(first: (Shape, Colour), second: (Shape, Colour), relation: Option<Relation>) -> Self {
        let swap = match relation {
            None => second < first,
            Some(relation) => matches!(relation, Relation::Below | Relation::RightOf),
        };
        if swap {
            Self::Pair(second, first, relation.map(Relation::reversed))
        } else {
            Self::Pair(first, second, relation)
        }
    }

    /// Any objects together.
    #[must_use]
    pub fn many(mut objects: Vec<(Shape, Colour)>) -> Self {
        objects.sort_unstable();
        Self::Many(objects)
    }

    /// Whether only [`Split::HeldOut`] has it.
    #[must_use]
    pub fn is_held_out(&self) -> bool {
        self.hash().is_multiple_of(HELD_OUT_ONE_IN)
    }

    /// Whether a split has it.
    #[must_use]
    pub fn is_in(&self, split: Split) -> bool {
        self.is_held_out() == (split == Split::HeldOut)
    }

    fn hash(&self) -> u64 {
        let kind = |(shape, colour): (Shape, Colour)| shape as u64 * 64 + colour as u64;
        match self {
            Self::One(shape, colour, size, place) => {
                let place = place.map_or(0, |place| place as u64 + 1);
                hash(&[1, kind((*shape, *colour)), *size as u64, place])
            }
            Self::Pair(first, second, relation) => {
                let relation = relation.map_or(0, |relation| relation as u64 + 1);
                hash(&[2, kind(*first), kind(*second), relation])
            }
            Self::Count(n, shape, colour) => hash(&[3, *n as u64, kind((*shape, *colour))]),
            Self::Many(objects) => {
                let parts: Vec<u64> = std::iter::once(4).chain(objects.iter().map(|&object| kind(object))).collect();
                hash(&parts)
            }
            Self::Edit(edit, shape, colour, detail) => hash(&[5, *edit as u64, kind((*shape, *colour)), *detail]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_combinations_have_one_form() {
        let (a, b) = ((Shape::Star, Colour::Red), (Shape::Circle, Colour::Blue));
        assert_eq!(Combination::pair(a, b, None), Combination::pair(b, a, None));
        let above = Combination::pair(a, b, Some(Relation::Above));
        assert_eq!(above, Combination::pair(b, a, Some(Relation::Below)));
        assert_ne!(above, Combination::pair(b, a, Some(Relation::Above)));
    }

    #[test]
    fn one_in_eight_is_held_out_and_every_pair_of_shape_and_colour_is_seen() {
        let (mut all, mut out) = (0, 0);
        for &shape in Shape::ALL {
            for &colour in Colour::ALL {
                let mut seen = false;
                for &size in Size::ALL {
                    for place in Place::ALL.iter().map(|&place| Some(place)).chain([None]) {
                        let held_out = Combination::One(shape, colour, size, place).is_held_out();
                        all += 1;
                        out += usize::from(held_out);
                        seen |= !held_out;
                    }
                }
                assert!(seen, "{colour} {shape}");
            }
        }
        assert!((0.09..0.16).contains(&(out as f64 / all as f64)), "{out} of {all}");
    }

    /// The border is part of every published figure: a change of the hash would let training see what was held out.
    #[test]
    fn the_border_stays_where_it_is() {
        let out = |n, shape| Colour::ALL.iter().map(move |&colour| Combination::Count(n, shape, colour).is_held_out());
        let border: Vec<usize> = (1..=4)
            .map(|n| Shape::ALL.iter().flat_map(move |&shape| out(n, shape)).enumerate())
            .map(|all| all.filter(|(_, out)| *out).map(|(at, _)| at).sum())
            .collect();
        assert_eq!(border, [186, 187, 307, 89]);
        let pair = Combination::pair((Shape::Star, Colour::Red), (Shape::Circle, Colour::Blue), Some(Relation::Below));
        assert_eq!(pair.hash(), 16_078_246_402_551_788_015);
    }
}
