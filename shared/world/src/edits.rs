//! Edits: a picture, an instruction, and the picture that follows it with everything else where it was.

use serde::{Deserialize, Serialize};

use crate::layout::{Rules, arrange, is_on_quarters};
use crate::sampler::Stream;
use crate::wording::with_article;
use crate::{Background, Claim, Colour, Combination, Draws, Place, Sampler, Scene, Shape, Texture};

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditKind {
    /// Another colour for an object.
    Recolour,
    /// Another object at the place of one.
    Replace,
    /// An object less.
    Remove,
    /// An object more.
    Add,
    /// An object elsewhere.
    Move,
    /// Another background.
    Background,
    /// Another texture for an object.
    Style,
}

impl EditKind {
    /// Every kind.
    pub const ALL: &'static [Self] =
        &[Self::Recolour, Self::Replace, Self::Remove, Self::Add, Self::Move, Self::Background, Self::Style];
}

/// A picture before and after an instruction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditSample {
    /// The source.
    pub before: Scene,
    /// The target; objects that the instruction does not touch are the same to the last bit.
    pub after: Scene,
    /// The instruction.
    pub instruction: String,
    /// What it does.
    pub kind: EditKind,
    /// What the result must show: all objects and the background.
    pub claim_after: Claim,
    /// Bounding boxes (left, top, right, bottom, in fractions of the image side) of what the instruction touches, before
    /// and after. Empty for backgrounds, which touch all but the objects.
    pub touched: Vec<[f32; 4]>,
    /// What decides whether the sample is held out.
    pub combination: Combination,
}

/// What one kind of edit made of a scene.
struct Edited {
    after: Scene,
    instruction: String,
    /// The new colour, shape, place or texture as a number, for the held-out border.
    detail: u64,
    /// The place that was asked for.
    place: Option<Place>,
}

impl Sampler {
    /// An edit of any kind, all equally often; textures only where the recipe has them.
    #[must_use]
    pub fn edit(&self, index: u64) -> EditSample {
        let mut draws = Draws::new(self.seed, Stream::Edit as u64, index);
        let n_kinds = EditKind::ALL.len() - usize::from(self.difficulty.textured_share <= 0.0);
        self.edit_in(EditKind::ALL[draws.below(n_kinds)], index)
    }

    /// An edit of one kind. [`EditKind::Style`] gives textures whatever the recipe says.
    #[must_use]
    pub fn edit_in(&self, kind: EditKind, index: u64) -> EditSample {
        self.until_some(Stream::Edit, kind as u64 + 1, index, |draws, attempt| self.try_edit(kind, draws, attempt))
    }

    fn try_edit(&self, kind: EditKind, draws: &mut Draws, attempt: u64) -> Option<EditSample> {
        let most = self.difficulty.n_objects_max.clamp(2, 3);
        let least = if kind == EditKind::Remove { 2 } else { 1 };
        let n = least + draws.below(most - least + 1);
        let shapes = Self::unlike_shapes(n, draws);
        let background = self.background(draws);
        // The border is the edit's own: the scene may be any, so `mixed` is asked for scenes of training.
        let any = Self { split: crate::Split::Train, ..self.clone() };
        let before = any.mixed(&shapes, background, None, draws, attempt)?;
        let at = draws.below(n);
        let edited = match kind {
            EditKind::Recolour => recolour(&before, at, draws),
            EditKind::Replace => replace(&before, at, draws),
            EditKind::Remove => remove(&before, at, draws),
            EditKind::Add => self.add(&before, draws, attempt),
            EditKind::Move => self.displace(&before, at, draws, attempt),
            EditKind::Background => change_background(&before, draws),
            EditKind::Style => style(&before, at, draws),
        }?;
        let subject = if kind == EditKind::Add { *edited.after.objects.last()? } else { before.objects[at] };
        let combination = Combination::Edit(kind, subject.shape, subject.colour, edited.detail);
        if !combination.is_in(self.split) || !edited.after.is_sound() {
            return None;
        }
        let touched = match kind {
            EditKind::Background => Vec::new(),
            EditKind::Add => vec![subject.bounds()],
            EditKind::Move => vec![subject.bounds(), edited.after.objects[at].bounds()],
            _ => vec![subject.bounds()],
        };
        let claim_after = claim_after(kind, at, &edited);
        let Edited { after, instruction, .. } = edited;
        Some(EditSample { before, after, instruction, kind, claim_after, touched, combination })
    }

    fn add(&self, before: &Scene, draws: &mut Draws, attempt: u64) -> Option<Edited> {
        let used = |shape: &Shape| before.objects.iter().any(|object| object.shape == *shape);
        let free: Vec<Shape> = Shape::ALL.iter().copied().filter(|shape| !used(shape)).collect();
        let group = self.group(draws.pick(&free)?, before.background, draws, attempt)?;
        let place = draws.pick(Place::ALL)?;
        let mut object = self.object(&group, draws);
        object.centre = self.centre_for(object.side, place, &before.objects, draws, attempt)?;
        let mut after = before.clone();
        after.objects.push(object);
        let verb = draws.pick(&["add", "add", "put", "place"])?;
        let instruction = format!("{verb} {} {}", object.wanted().text(), place.phrase());
        Some(Edited { after, instruction, detail: place as u64, place: Some(place) })
    }

    fn displace(&self, before: &Scene, at: usize, draws: &mut Draws, attempt: u64) -> Option<Edited> {
        let place = draws.pick(Place::ALL)?;
        let mut others = before.objects.clone();
        let object = others.remove(at);
        if place.nearly_holds(object.centre) {
            return None;
        }
        let name = before.name(at, draws)?;
        let mut after = before.clone();
        let centre = self.centre_for(object.side, place, &others, draws, attempt)?;
        after.objects[at].centre = centre;
        let verb = draws.pick(&["move", "move", "shift", "bring"])?;
        let instruction = format!("{verb} the {name} to the {place}");
        Some(Edited { after, instruction, detail: place as u64, place: Some(place) })
    }

    /// A centre at a place, clear of other objects.
    fn centre_for(
        &self,
        side: f32,
        place: Place,
        others: &[crate::Object],
        draws: &mut Draws,
        attempt: u64,
    ) -> Option<(f32, f32)> {
        let fixed: Vec<_> = others.iter().map(|other| (other.centre, other.side)).collect();
        // Where the picture keeps to quarters, what comes does too.
        let on_quarters = self.difficulty.arranged_share > 0.0
            && side <= 0.45
            && is_on_quarters(others.iter().map(|other| other.centre));
        let rules = Rules { lattice: self.lattice(attempt), place: Some(place), relation: None, on_quarters };
        arrange(draws, &[side], &fixed, rules)?.first().copied()
    }
}

/// What the result must show.
fn claim_after(kind: EditKind, at: usize, edited: &Edited) -> Claim {
    let mut claim = edited.after.claim();
    let subject = if kind == EditKind::Add { edited.after.objects.len() - 1 } else { at };
    // Objects of an edit all differ in shape, so the groups of the claim are the objects in their order.
    if let Some(wanted) = claim.wanted.get_mut(subject).filter(|_| kind != EditKind::Remove) {
        wanted.place = edited.place;
        if kind == EditKind::Style {
            wanted.texture = Some(edited.after.objects[subject].texture);
        }
    }
    claim
}

fn recolour(before: &Scene, at: usize, draws: &mut Draws) -> Option<Edited> {
    let mut after = before.clone();
    let colour = draws.pick(Colour::ALL)?;
    if colour == after.objects[at].colour {
        return None;
    }
    after.objects[at].colour = colour;
    let words = ["make the {} *", "change the colour of the {} to *", "turn the {} *", "paint the {} *"];
    let instruction = draws.pick(&words)?.replace("{}", &before.name(at, draws)?).replace('*', colour.word());
    Some(Edited { after, instruction, detail: colour as u64, place: None })
}

fn replace(before: &Scene, at: usize, draws: &mut Draws) -> Option<Edited> {
    let (shape, colour) = (draws.pick(Shape::ALL)?, draws.pick(Colour::ALL)?);
    // A shape that is there already would make two things of one name.
    if before.objects.iter().any(|object| object.shape == shape) {
        return None;
    }
    let mut after = before.clone();
    after.objects[at] = crate::Object { shape, colour, texture: Texture::Plain, ..before.objects[at] };
    let words = ["replace the {} with *", "replace the {} by *", "swap the {} for *", "change the {} into *"];
    let new = with_article(&format!("{colour} {shape}"));
    let instruction = draws.pick(&words)?.replace("{}", &before.name(at, draws)?).replace('*', &new);
    Some(Edited { after, instruction, detail: shape as u64 * 16 + colour as u64, place: None })
}

fn remove(before: &Scene, at: usize, draws: &mut Draws) -> Option<Edited> {
    let mut after = before.clone();
    after.objects.remove(at);
    let verb = draws.pick(&["remove", "remove", "take away", "delete", "erase"])?;
    let instruction = format!("{verb} the {}", before.name(at, draws)?);
    // What stays is part of what is new: with nothing else, whole objects would never be removed in training.
    let detail = after.objects.iter().map(|object| object.shape as u64 + 1).fold(0, |sum, shape| sum * 8 + shape);
    Some(Edited { after, instruction, detail, place: None })
}

fn change_background(before: &Scene, draws: &mut Draws) -> Option<Edited> {
    let colour = draws.pick(Colour::ALL)?;
    if colour == before.background.colour {
        return None;
    }
    let after = Scene { background: Background { colour, texture: Texture::Plain }, objects: before.objects.clone() };
    let words = ["make the background *", "change the background to *", "change the background colour to *"];
    let instruction = draws.pick(&words)?.replace('*', colour.word());
    Some(Edited { after, instruction, detail: colour as u64, place: None })
}

fn style(before: &Scene, at: usize, draws: &mut Draws) -> Option<Edited> {
    let texture = draws.pick(Texture::ALL)?;
    if texture == before.objects[at].texture {
        return None;
    }
    let mut after = before.clone();
    after.objects[at].texture = texture;
    let instruction = draws.pick(&["make the {} *", "turn the {} *"])?;
    let instruction = instruction.replace("{}", &before.name(at, draws)?).replace('*', texture.word());
    Some(Edited { after, instruction, detail: texture as u64, place: None })
}
