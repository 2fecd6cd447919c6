//! What a picture shows, in words: every object with its colour, and how it stands.

use serde::{Deserialize, Serialize};

use crate::sampler::Stream;
use crate::wording::{join, number_word};
use crate::{Claim, Object, Place, Relation, Sampler, Scene, Texture, Wanted};

/// A picture and its description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionSample {
    /// The picture.
    pub scene: Scene,
    /// What it shows.
    pub caption: String,
    /// The request for a description.
    pub question: String,
}

/// How descriptions are asked for.
pub const DESCRIBE: &str = "Describe the image in detail.";

const OTHER_WORDS: &[&str] = &[
    "Describe this image.",
    "What does the picture show?",
    "What is in the image?",
    "Describe the picture in detail.",
];

impl Scene {
    /// The canonical description: "A red circle above a striped blue square on a white background." Objects come from
    /// left to right, those of one column from top to bottom; equal ones are counted.
    #[must_use]
    pub fn caption(&self) -> String {
        let things = match self.objects.as_slice() {
            [] => "nothing".to_owned(),
            [only] => {
                let place = Place::ALL.iter().find(|place| place.clearly_holds(only.centre));
                Wanted { place: place.copied(), ..only.wanted() }.text()
            }
            [first, second] => pair(first, second),
            objects => several(objects),
        };
        let text = format!("{things} on {}.", self.background.text());
        let mut letters = text.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    }

    /// The claim that says all of the scene but sizes and places.
    #[must_use]
    pub fn claim(&self) -> Claim {
        let mut wanted: Vec<Wanted> = Vec::new();
        for object in &self.objects {
            match wanted.iter_mut().find(|known| Wanted { count: 1, ..**known } == object.wanted()) {
                Some(known) => known.count += 1,
                None => wanted.push(object.wanted()),
            }
        }
        Claim { wanted, relation: None, background: Some(self.background) }
    }
}

impl Object {
    /// What a prompt would say of it: shape and colour, and a texture that is not plain.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let texture = (self.texture != Texture::Plain).then_some(self.texture);
        Wanted { colour: Some(self.colour), texture, ..Wanted::one(self.shape) }
    }
}

/// Two objects, with their relation where it is beyond doubt.
fn pair(a: &Object, b: &Object) -> String {
    for (first, second) in [(a, b), (b, a)] {
        for relation in [Relation::Above, Relation::LeftOf] {
            if relation.clearly_holds(first.centre, second.centre) {
                return format!("{} {relation} {}", first.wanted().text(), second.wanted().text());
            }
        }
    }
    several(&[*a, *b])
}

/// Any number of objects from left to right, those of one column from top to bottom, equal ones counted at the first: an order
/// that can be seen, so that what comes next can be learnt.
fn several(objects: &[Object]) -> String {
    let mut objects = objects.to_vec();
    objects.sort_by(|a, b| a.centre.0.total_cmp(&b.centre.0).then(a.centre.1.total_cmp(&b.centre.1)));
    let claim = Scene { background: crate::Background::WHITE, objects }.claim();
    join(&claim.wanted.iter().map(Wanted::text).collect::<Vec<_>>())
}

impl Sampler {
    /// A picture of one to the recipe's most objects, and its description.
    #[must_use]
    pub fn caption(&self, index: u64) -> CaptionSample {
        self.until_some(Stream::Caption, 0, index, |draws, attempt| {
            let n = self.n_objects(1, draws);
            let shapes = Self::any_shapes(n, draws);
            let background = self.background(draws);
            let scene = self.mixed(&shapes, background, None, draws, attempt)?;
            let other = draws.chance(self.difficulty.rephrased_share);
            let question = if other { draws.pick(OTHER_WORDS).unwrap_or(DESCRIBE) } else { DESCRIBE };
            Some(CaptionSample { caption: scene.caption(), scene, question: question.to_owned() })
        })
    }
}

/// Whether a caption names every object of a scene: its shape and its colour together ("a red circle", "two small red
/// circles", "the circle is red"), as often as there are such objects.
#[must_use]
pub fn names_all(caption: &str, scene: &Scene) -> bool {
    let lower = caption.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    scene.claim().wanted.iter().all(|wanted| {
        // Textures are not asked for here, so objects that differ in them count together.
        let same = |object: &&Object| object.shape == wanted.shape && Some(object.colour) == wanted.colour;
        named(&words, wanted) >= scene.objects.iter().filter(same).count()
    })
}

/// How many objects of a shape and colour some words name.
fn named(words: &[&str], wanted: &Wanted) -> usize {
    let is_shape = |word: &str| crate::Shape::ALL.iter().any(|shape| word == shape.word() || word == shape.plural());
    let mut n_named = 0;
    for (at, &word) in words.iter().enumerate() {
        if word != wanted.shape.word() && word != wanted.shape.plural() {
            continue;
        }
        // The words since the last shape are this one's, up to four of them.
        let before: Vec<&str> = words[..at].iter().rev().take(4).take_while(|word| !is_shape(word)).copied().collect();
        let behind = words.get(at + 1..).unwrap_or_default();
        let copula = matches!(behind.first(), Some(&("is" | "are" | "in" | "coloured" | "colored")));
        let colour_behind = if copula { behind.iter().skip(1).take(1).find_map(|word| colour_of(word)) } else { None };
        let colour_before = before.iter().find_map(|word| colour_of(word));
        if colour_behind.or(colour_before) == wanted.colour {
            let number = |word: &&str| (1..=6).find(|&n| number_word(n) == **word || n.to_string() == **word);
            n_named += before.iter().find_map(number).unwrap_or(1);
        }
    }
    n_named
}

fn colour_of(word: &str) -> Option<crate::Colour> {
    let word = if word == "gray" { "grey" } else { word };
    crate::Colour::ALL.iter().copied().find(|colour| colour.word() == word)
}
