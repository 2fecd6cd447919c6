//! Questions about all of a picture at once: every shape with its colour, its number or its place.
//!
//! To say what colour the star is, a model has to find the star among what it sees. One question asks that once, and says
//! the shape a few words before the answer; a list asks it of every shape, each named just before what is said of it. A
//! small model learns to look things up by lists first.

use crate::questions::Asked;
use crate::wording::number_word;
use crate::{Colour, Draws, Object, Place, Scene, Shape};

/// What is said of what is not there.
const NONE: &str = "none";

/// Colours in a list by colours.
const N_COLOURS: usize = 5;

/// A question for a list, and the list; `None` where an object is at no clear place.
pub(crate) fn listing(scene: &Scene, draws: &mut Draws) -> Option<Asked> {
    let of = |shape: Shape| scene.objects.iter().filter(move |object| object.shape == shape);
    let (question, entries) = match draws.below(4) {
        0 => ("What colour is each shape?", by_shape(|shape| named(of(shape).map(|object| object.colour.word())))),
        1 => ("How many are there of each shape?", by_shape(|shape| number(of(shape).count()))),
        2 => {
            let place = |object: &Object| Place::ALL.iter().find(|place| place.clearly_holds(object.centre));
            let places: Vec<(Shape, &Place)> =
                scene.objects.iter().map(|object| Some((object.shape, place(object)?))).collect::<Option<_>>()?;
            let of = |shape| named(places.iter().filter(move |(other, _)| *other == shape).map(|(_, at)| at.word()));
            ("Where is each shape?", by_shape(of))
        }
        _ => ("What shape is each colour?", by_colour(scene, draws)),
    };
    Some((question.to_owned(), entries.join(", ")))
}

fn by_shape(said: impl Fn(Shape) -> String) -> Vec<String> {
    Shape::ALL.iter().map(|&shape| format!("{shape} {}", said(shape))).collect()
}

/// The colours that are there, and others up to so many.
fn by_colour(scene: &Scene, draws: &mut Draws) -> Vec<String> {
    let of = |colour: Colour| scene.objects.iter().filter(move |object| object.colour == colour);
    let mut colours = Colour::ALL.to_vec();
    draws.shuffle(&mut colours);
    colours.sort_by_key(|&colour| of(colour).next().is_none());
    colours.truncate(N_COLOURS);
    draws.shuffle(&mut colours);
    colours.iter().map(|&colour| format!("{colour} {}", named(of(colour).map(|object| object.shape.word())))).collect()
}

/// Words joined by "and", none of them twice.
fn named<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    if seen.is_empty() { NONE.to_owned() } else { seen.join(" and ") }
}

fn number(count: usize) -> String {
    if count == 0 { NONE.to_owned() } else { number_word(count) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Background, Texture};

    fn object(shape: Shape, colour: Colour, centre: (f32, f32)) -> Object {
        Object { shape, colour, texture: Texture::Plain, centre, side: 0.3 }
    }

    #[test]
    fn lists_say_what_is_there_of_everything() {
        let objects = vec![
            object(Shape::Star, Colour::Red, (0.25, 0.5)),
            object(Shape::Cross, Colour::Blue, (0.75, 0.5)),
            object(Shape::Cross, Colour::Red, (0.75, 0.5)),
        ];
        let scene = Scene { background: Background::WHITE, objects };
        let mut seen = std::collections::BTreeMap::new();
        for seed in 0..60 {
            seen.extend(listing(&scene, &mut Draws::new(seed, 0, 0)));
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
        let circle_to_cross = |star: &str, cross: &str| {
            format!("circle none, square none, triangle none, star {star}, diamond none, cross {cross}")
        };
        assert_eq!(seen["What colour is each shape?"], circle_to_cross("red", "blue and red"));
        assert_eq!(seen["How many are there of each shape?"], circle_to_cross("one", "two"));
        assert_eq!(seen["Where is each shape?"], circle_to_cross("left", "right"));
        let by_colour = &seen["What shape is each colour?"];
        let entries: Vec<&str> = by_colour.split(", ").collect();
        assert!(entries.contains(&"red star and cross") && entries.contains(&"blue cross"), "{by_colour}");
        assert_eq!(entries.len(), N_COLOURS);
    }
}
