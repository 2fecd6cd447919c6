//! Questions about pictures, each with one short answer.

use serde::{Deserialize, Serialize};

use crate::sampler::Stream;
use crate::wording::{number_word, with_article};
use crate::{Background, Claim, Colour, Draws, Place, Relation, Sampler, Scene, Shape, Texture};

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionKind {
    /// The colour of a shape: "red".
    Colour,
    /// The shape of a colour: "a circle".
    Shape,
    /// How many of one shape: "two", "zero".
    CountOf,
    /// How many objects in all.
    CountAll,
    /// Whether something is there: "yes" or "no", each half of the time.
    Presence,
    /// Whether one object stands so to another: "yes" or "no", likewise.
    Relation,
    /// The place of an object: "left", "right", "top", "bottom", "centre".
    Where,
    /// The background's colour.
    Background,
    /// Whether the picture shows all of a prompt and nothing else: "yes" or "no", likewise; see
    /// [`verification_question`].
    Verification,
}

impl QuestionKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Colour,
        Self::Shape,
        Self::CountOf,
        Self::CountAll,
        Self::Presence,
        Self::Relation,
        Self::Where,
        Self::Background,
        Self::Verification,
    ];
}

/// A picture, a question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionSample {
    /// The picture.
    pub scene: Scene,
    /// The question.
    pub question: String,
    /// The answer, in lower case without a full stop.
    pub answer: String,
    /// What is asked for.
    pub kind: QuestionKind,
}

/// The question of VQAScore (Lin et al., 2024) about a prompt: the probability of "yes" is how well a picture fits.
#[must_use]
pub fn verification_question(prompt: &str) -> String {
    format!("Does this figure show {prompt}?")
}

/// A question and its answer.
pub(crate) type Asked = (String, String);

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

impl Sampler {
    /// A question of any kind; verification, which also judges generated pictures, as often as three others.
    #[must_use]
    pub fn question(&self, index: u64) -> QuestionSample {
        let mut draws = Draws::new(self.seed, Stream::Question as u64, index);
        let at = draws.below(QuestionKind::ALL.len() + 2);
        self.question_in(QuestionKind::ALL.get(at).copied().unwrap_or(QuestionKind::Verification), index)
    }

    /// A question of one kind.
    #[must_use]
    pub fn question_in(&self, kind: QuestionKind, index: u64) -> QuestionSample {
        self.until_some(Stream::Question, kind as u64, index, |draws, attempt| {
            let (scene, (question, answer)) = match kind {
                QuestionKind::Verification => self.verification(draws)?,
                QuestionKind::CountOf => self.count_of(draws, attempt)?,
                QuestionKind::Where => self.place_of(draws, attempt)?,
                _ => {
                    let scene = self.question_scene(kind, draws, attempt)?;
                    let asked = match kind {
                        QuestionKind::Colour => colour_of(&scene, draws)?,
                        QuestionKind::Shape => shape_of(&scene, draws)?,
                        QuestionKind::Presence => presence(&scene, draws)?,
                        QuestionKind::Relation => relation(&scene, draws)?,
                        QuestionKind::Background => background(&scene, draws)?,
                        _ => count_all(&scene, draws)?,
                    };
                    (scene, asked)
                }
            };
            Some(QuestionSample { scene, question, answer, kind })
        })
    }

    fn question_scene(&self, kind: QuestionKind, draws: &mut Draws, attempt: u64) -> Option<Scene> {
        let least = if kind == QuestionKind::Relation { 2 } else { 1 };
        let n = self.n_objects(least, draws);
        let shapes = Self::any_shapes(n, draws);
        let mut background = self.background(draws);
        if kind == QuestionKind::Background && background == Background::WHITE && draws.chance(0.8) {
            // By the recipe most backgrounds are white, and "white" would be most answers.
            background = Background { colour: draws.pick(Colour::ALL)?, texture: Texture::Plain };
        }
        self.mixed(&shapes, background, None, draws, attempt)
    }

    /// A shape zero to so many times among others, every number equally often.
    fn count_of(&self, draws: &mut Draws, attempt: u64) -> Option<(Scene, Asked)> {
        let shape = draws.pick(Shape::ALL)?;
        let most = self.difficulty.n_objects_max;
        let count = draws.below(most + 1);
        let others: Vec<Shape> = Shape::ALL.iter().copied().filter(|&other| other != shape).collect();
        let n_others = draws.below(most - count + 1).max(usize::from(count == 0));
        let mut shapes = vec![shape; count];
        shapes.extend((0..n_others).filter_map(|_| draws.pick(&others)));
        let background = self.background(draws);
        let scene = self.mixed(&shapes, background, None, draws, attempt)?;
        let asked = count_in(&scene, shape, draws)?;
        Some((scene, asked))
    }

    fn place_of(&self, draws: &mut Draws, attempt: u64) -> Option<(Scene, Asked)> {
        let place = draws.pick(Place::ALL)?;
        let n = self.n_objects(1, draws).min(3);
        let shapes = Self::any_shapes(n, draws);
        let background = self.background(draws);
        let scene = self.mixed(&shapes, background, Some(place), draws, attempt)?;
        let asked = place_in(&scene, 0, place, draws)?;
        Some((scene, asked))
    }

    /// Whether a picture shows a prompt; the wrong prompts are near misses.
    fn verification(&self, draws: &mut Draws) -> Option<(Scene, Asked)> {
        let sample = self.generation(draws.bits());
        let asked = shown(&sample.claim, &sample.scene, draws)?;
        Some((sample.scene, asked))
    }
}

/// Whether a scene shows what is claimed of it, or a near miss of that.
pub(crate) fn shown(claim: &Claim, scene: &Scene, draws: &mut Draws) -> Option<Asked> {
    let yes = draws.chance(0.5);
    // In the same plain words as the near misses: the wording must not give the answer away.
    let prompt = if yes { claim.text() } else { claim.near_miss(scene, draws)?.text() };
    Some((verification_question(&prompt), yes_or_no(yes)))
}

pub(crate) fn count_in(scene: &Scene, shape: Shape, draws: &mut Draws) -> Option<Asked> {
    let count = scene.objects.iter().filter(|object| object.shape == shape).count();
    let question = draws.pick(&["How many {} are there?", "How many {} are in the image?", "Count the {}."])?;
    let answer = if count == 0 { "zero".to_owned() } else { number_word(count) };
    Some((question.replace("{}", shape.plural()), answer))
}

/// Where one object is, which is at `place`.
pub(crate) fn place_in(scene: &Scene, at: usize, place: Place, draws: &mut Draws) -> Option<Asked> {
    let name = scene.name(at, draws)?;
    let question = draws.pick(&["Where is the {}?", "Where in the image is the {}?"])?;
    Some((question.replace("{}", &name), place.word().to_owned()))
}

pub(crate) fn colour_of(scene: &Scene, draws: &mut Draws) -> Option<Asked> {
    let object = draws.pick(&scene.objects)?;
    let alone = scene.objects.iter().filter(|other| other.shape == object.shape).count() == 1;
    let question =
        draws.pick(&["What colour is the {}?", "What is the colour of the {}?", "Which colour does the {} have?"])?;
    alone.then(|| (question.replace("{}", object.shape.word()), object.colour.word().to_owned()))
}

pub(crate) fn shape_of(scene: &Scene, draws: &mut Draws) -> Option<Asked> {
    let object = draws.pick(&scene.objects)?;
    let alone = scene.objects.iter().filter(|other| other.colour == object.colour).count() == 1;
    let question = draws.pick(&["What shape is the {} object?", "Which shape is {}?", "What is the {} object?"])?;
    alone.then(|| (question.replace("{}", object.colour.word()), with_article(object.shape.word())))
}

pub(crate) fn count_all(scene: &Scene, draws: &mut Draws) -> Option<Asked> {
    let question = draws.pick(&["How many objects are there?", "How many shapes are in the image?"])?;
    Some((question.to_owned(), number_word(scene.objects.len())))
}

/// A thing that is there, or one that shares its shape or its colour with one that is.
pub(crate) fn presence(scene: &Scene, draws: &mut Draws) -> Option<Asked> {
    let object = draws.pick(&scene.objects)?;
    let (mut shape, mut colour) = (object.shape, object.colour);
    let yes = draws.chance(0.5);
    if !yes {
        if draws.chance(0.5) {
            shape = draws.pick(Shape::ALL)?;
        } else {
            colour = draws.pick(Colour::ALL)?;
        }
        let behind = scene.background;
        let possible = colour.stands_out(Texture::Plain, behind.colour, behind.texture);
        if !possible || scene.objects.iter().any(|other| (other.shape, other.colour) == (shape, colour)) {
            return None;
        }
    }
    let question = draws.pick(&["Is there {}?", "Is there {} in the image?", "Does the image show {}?"])?;
    Some((question.replace("{}", &with_article(&format!("{colour} {shape}"))), yes_or_no(yes)))
}

pub(crate) fn relation(scene: &Scene, draws: &mut Draws) -> Option<Asked> {
    let (first, second) = (draws.below(scene.objects.len()), draws.below(scene.objects.len()));
    let (a, b) = (scene.objects[first].centre, scene.objects[second].centre);
    let relation = Relation::ALL.iter().copied().find(|relation| relation.clearly_holds(a, b))?;
    let yes = draws.chance(0.5);
    let said = if yes { relation } else { relation.reversed() };
    let (first, second) = (scene.name(first, draws)?, scene.name(second, draws)?);
    Some((format!("Is the {first} {said} the {second}?"), yes_or_no(yes)))
}

pub(crate) fn background(scene: &Scene, draws: &mut Draws) -> Option<Asked> {
    let question = draws.pick(&["What colour is the background?", "What is the background colour?"])?;
    Some((question.to_owned(), scene.background.colour.word().to_owned()))
}
