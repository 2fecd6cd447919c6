//! Claims that almost fit a scene, and samples whose prompt does not fit their picture.
//!
//! A verifier that only ever sees unrelated pairs learns to compare single words; the wrong pairs that a generator makes
//! are off by one colour, one object or one relation, so these are too.

use serde::{Deserialize, Serialize};

use crate::sampler::Stream;
use crate::wording::Style;
use crate::{
    Background, Category, Claim, Colour, Draws, GenerationSample, Place, Relation, Sampler, Scene, Shape, Size, Texture,
};

/// A generation sample that may be wrong on purpose, to try a curation with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorruptedSample {
    /// The picture and the words.
    pub sample: GenerationSample,
    /// Whether the words do not fit the picture.
    pub corrupted: bool,
}

/// What a near miss changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Colour,
    Shape,
    Texture,
    Size,
    Count,
    Place,
    Swap,
    Relation,
    Background,
}

impl Claim {
    /// The claim with one thing changed so that it does not fit the scene; `None` where no change of a few tried does
    /// that.
    #[must_use]
    pub fn near_miss(&self, scene: &Scene, draws: &mut Draws) -> Option<Self> {
        const TRIES: usize = 20;
        let changes = self.changes();
        (0..TRIES).find_map(|_| {
            let changed = self.changed(draws.pick(&changes)?, scene.background, draws)?;
            (!changed.fits(scene)).then_some(changed)
        })
    }

    /// The changes that the claim has words for.
    fn changes(&self) -> Vec<Change> {
        let any = |said: fn(&crate::Wanted) -> bool| self.wanted.iter().any(said);
        let coloured = self.wanted.iter().all(|wanted| wanted.colour.is_some());
        let possible = [
            (Change::Colour, any(|wanted| wanted.colour.is_some())),
            (Change::Shape, true),
            (Change::Texture, any(|wanted| wanted.texture.is_some())),
            (Change::Size, any(|wanted| wanted.size.is_some())),
            (Change::Count, self.wanted.len() == 1),
            (Change::Place, any(|wanted| wanted.place.is_some())),
            (Change::Swap, self.wanted.len() == 2 && coloured),
            (Change::Relation, self.relation.is_some()),
            (Change::Background, self.background.is_some()),
        ];
        possible.into_iter().filter(|(_, possible)| *possible).map(|(change, _)| change).collect()
    }

    fn changed(&self, change: Change, background: Background, draws: &mut Draws) -> Option<Self> {
        let mut claim = self.clone();
        let at = draws.below(claim.wanted.len());
        let wanted = claim.wanted.get_mut(at)?;
        match change {
            Change::Colour => wanted.colour = Some(other_colour(wanted.colour?, background, draws)?),
            Change::Shape => wanted.shape = draws.pick(Shape::ALL)?,
            Change::Texture => wanted.texture = wanted.texture.and(draws.pick(&Texture::ALL[1..])),
            Change::Size => wanted.size = wanted.size.and(draws.pick(Size::ALL)),
            Change::Count => wanted.count = 1 + draws.below(4),
            Change::Place => wanted.place = wanted.place.and(draws.pick(Place::ALL)),
            Change::Swap => {
                let colour = claim.wanted[0].colour;
                claim.wanted[0].colour = claim.wanted[1].colour;
                claim.wanted[1].colour = colour;
            }
            Change::Relation => claim.relation = draws.pick(Relation::ALL),
            Change::Background => {
                let colour = draws.pick(Colour::ALL)?;
                claim.background = claim.background.map(|background| Background { colour, ..background });
            }
        }
        Some(claim)
    }
}

/// Another colour that an object could have on the background: one that it could not would give the answer away.
fn other_colour(colour: Colour, background: Background, draws: &mut Draws) -> Option<Colour> {
    let possible =
        |&other: &Colour| other != colour && other.stands_out(Texture::Plain, background.colour, background.texture);
    let others: Vec<Colour> = Colour::ALL.iter().copied().filter(possible).collect();
    draws.pick(&others)
}

impl Sampler {
    /// The sample of [`Sampler::generation`] whose words, for this share of indices, do not fit its picture: half of
    /// them near misses, half the words of another sample.
    #[must_use]
    pub fn corrupted(&self, index: u64, share: f32) -> CorruptedSample {
        let mut sample = self.generation(index);
        let mut draws = Draws::new(self.seed, Stream::Corruption as u64, index);
        if !draws.chance(share) {
            return CorruptedSample { sample, corrupted: false };
        }
        let near = if draws.chance(0.5) { sample.claim.near_miss(&sample.scene, &mut draws) } else { None };
        // Most other samples do not fit; those that do are skipped.
        let wrong = near.or_else(|| {
            let others = (0..50).map(|_| self.generation(draws.bits()).claim);
            others.into_iter().find(|claim| !claim.fits(&sample.scene))
        });
        let Some(claim) = wrong else {
            return CorruptedSample { sample, corrupted: false };
        };
        let style = Style::draw(&mut draws, self.difficulty.rephrased_share, sample.category == Category::Counting);
        sample.prompt = claim.styled(style);
        sample.claim = claim;
        CorruptedSample { sample, corrupted: true }
    }
}
