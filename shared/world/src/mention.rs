//! What a picture shows of a thing that words name: labels for whoever learns to look things up.
//!
//! "What colour is the star?" is answered in two steps: find the star, then say its colour. The answer alone teaches both at
//! once, which a small model hardly learns. A label at the word "star" teaches the first step, at every word of every
//! question that names something.

use crate::{Colour, Object, Scene, Shape};

/// What is true of all the objects that words fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found<T> {
    /// There are none.
    Nothing,
    /// The same of all of them.
    One(T),
    /// Not the same of all of them.
    Several,
}

/// The objects that a colour, a shape or both fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mention {
    /// How many there are.
    pub n_objects: usize,
    /// Their colour.
    pub colour: Found<Colour>,
    /// Their shape.
    pub shape: Found<Shape>,
    /// The band of their centres from left to right, 0 to [`Mention::N_BANDS`] - 1.
    pub column: Found<usize>,
    /// The band of their centres from top to bottom.
    pub row: Found<usize>,
}

impl Mention {
    /// Bands of a picture, across and down.
    pub const N_BANDS: usize = 4;
}

impl Scene {
    /// What the picture shows of a `colour`, a `shape`, or both together.
    #[must_use]
    pub fn mention(&self, colour: Option<Colour>, shape: Option<Shape>) -> Mention {
        let fits = |object: &&Object| {
            colour.is_none_or(|colour| colour == object.colour) && shape.is_none_or(|shape| shape == object.shape)
        };
        let objects: Vec<&Object> = self.objects.iter().filter(fits).collect();
        Mention {
            n_objects: objects.len(),
            colour: found(objects.iter().map(|object| object.colour)),
            shape: found(objects.iter().map(|object| object.shape)),
            column: found(objects.iter().map(|object| band(object.centre.0))),
            row: found(objects.iter().map(|object| band(object.centre.1))),
        }
    }
}

fn found<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Found<T> {
    match all.next() {
        None => Found::Nothing,
        Some(first) if all.all(|other| other == first) => Found::One(first),
        Some(_) => Found::Several,
    }
}

fn band(at: f32) -> usize {
    ((at * Mention::N_BANDS as f32) as usize).min(Mention::N_BANDS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Background, Texture};

    #[test]
    fn words_find_what_they_name() {
        let object = |shape, colour, centre| Object { shape, colour, texture: Texture::Plain, centre, side: 0.3 };
        let objects = vec![
            object(Shape::Star, Colour::Red, (0.2, 0.8)),
            object(Shape::Cross, Colour::Blue, (0.8, 0.8)),
            object(Shape::Cross, Colour::Red, (0.8, 0.2)),
        ];
        let scene = Scene { background: Background::WHITE, objects };
        let star = scene.mention(None, Some(Shape::Star));
        let expected = Mention {
            n_objects: 1,
            colour: Found::One(Colour::Red),
            shape: Found::One(Shape::Star),
            column: Found::One(0),
            row: Found::One(3),
        };
        assert_eq!(star, expected);
        let crosses = scene.mention(None, Some(Shape::Cross));
        assert_eq!((crosses.n_objects, crosses.colour, crosses.row), (2, Found::Several, Found::Several));
        assert_eq!(crosses.column, Found::One(3));
        assert_eq!(scene.mention(Some(Colour::Red), Some(Shape::Cross)).row, Found::One(0));
        let nothing = scene.mention(Some(Colour::Blue), Some(Shape::Star));
        assert_eq!((nothing.n_objects, nothing.colour), (0, Found::Nothing));
    }
}
