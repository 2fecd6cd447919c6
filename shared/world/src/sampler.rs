//! Prompts and the scenes that fit them, each a pure function of (seed, split, category, index).

use serde::{Deserialize, Serialize};

use crate::layout::{Rules, arrange, suggested};
use crate::random::hash;
use crate::wording::Style;
use crate::{
    Background, Category, Claim, Colour, Combination, Difficulty, Draws, Object, Place, Relation, Scene, Shape, Size,
    Split, Texture, Wanted,
};

/// A picture to draw and the words that ask for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationSample {
    /// The picture.
    pub scene: Scene,
    /// The words, without any opening of the model's own.
    pub prompt: String,
    /// What the words ask for.
    pub claim: Claim,
    /// The kind of prompt.
    pub category: Category,
}

/// Draws samples of one difficulty and one side of the held-out border.
#[derive(Debug, Clone)]
pub struct Sampler {
    pub(crate) seed: u64,
    pub(crate) difficulty: Difficulty,
    pub(crate) split: Split,
}

/// What the streams of one sampler are for; each gives independent draws.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Category = 1,
    Generation = 2,
    Question = 3,
    Caption = 4,
    Edit = 5,
    Corruption = 6,
    Conversation = 7,
}

/// Layouts that fail so often are drawn with small objects, and twice as often without the lattice: a recipe may ask for
/// what cannot be (two large objects on a lattice), and sampling must end.
const SHRINK_AFTER: u64 = 200;

/// What a scene will hold before its places are known.
struct Plan {
    background: Background,
    groups: Vec<Group>,
    relation: Option<Relation>,
}

/// Equal objects: what is wanted of them, and what they are where nothing is said.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    pub(crate) wanted: Wanted,
    pub(crate) colour: Colour,
    pub(crate) texture: Texture,
    pub(crate) size: Size,
}

impl GenerationSample {
    /// What decides whether the sample is held out.
    #[must_use]
    pub fn combination(&self) -> Combination {
        let kind = |at: usize| self.scene.objects.get(at).map(|object| (object.shape, object.colour));
        let wanted = self.claim.wanted.first();
        match (self.category, self.scene.objects.as_slice()) {
            (Category::SingleObject | Category::Colours, [object, ..]) => {
                let place = wanted.and_then(|wanted| wanted.place);
                Combination::One(object.shape, object.colour, object.size(), place)
            }
            (Category::Counting, [object, ..]) => {
                Combination::Count(self.scene.objects.len(), object.shape, object.colour)
            }
            (_, [first, second]) => {
                Combination::pair((first.shape, first.colour), (second.shape, second.colour), self.claim.relation)
            }
            (_, objects) => Combination::many((0..objects.len()).filter_map(kind).collect()),
        }
    }
}

impl Sampler {
    /// A sampler. Knobs outside their range count as the nearest allowed value; see [`Difficulty::check`].
    #[must_use]
    pub fn new(seed: u64, difficulty: Difficulty, split: Split) -> Self {
        Self { seed, difficulty: difficulty.in_range(), split }
    }

    /// A prompt of a category drawn by the recipe's weights, and a scene that fits it.
    #[must_use]
    pub fn generation(&self, index: u64) -> GenerationSample {
        let mut draws = Draws::new(self.seed, Stream::Category as u64, index);
        let category = Category::ALL[draws.weighted(&self.difficulty.categories.in_order())];
        self.generation_in(category, index)
    }

    /// A prompt of one category and a scene that fits it.
    #[must_use]
    pub fn generation_in(&self, category: Category, index: u64) -> GenerationSample {
        self.until_some(Stream::Generation, category as u64, index, |draws, attempt| {
            self.try_generation(category, draws, attempt)
        })
    }

    /// Draws again, each time from a stream of its own, what fell to the other split or found no layout.
    pub(crate) fn until_some<T>(
        &self,
        stream: Stream,
        kind: u64,
        index: u64,
        mut attempt_at: impl FnMut(&mut Draws, u64) -> Option<T>,
    ) -> T {
        let mut attempt = 0;
        loop {
            let mut draws = Draws::new(self.seed, hash(&[stream as u64, kind, attempt]), index);
            if let Some(sample) = attempt_at(&mut draws, attempt) {
                return sample;
            }
            attempt += 1;
        }
    }

    fn try_generation(&self, category: Category, draws: &mut Draws, attempt: u64) -> Option<GenerationSample> {
        let plan = self.plan(category, draws, attempt)?;
        let combination = plan.combination(category);
        if !combination.is_in(self.split) {
            return None;
        }
        let scene = self.scene(&plan, draws, attempt)?;
        let style = Style::draw(draws, self.difficulty.rephrased_share, category == Category::Counting);
        let background = (plan.background != Background::WHITE).then_some(plan.background);
        let wanted = plan.groups.iter().map(|group| group.wanted).collect();
        let claim = Claim { wanted, relation: plan.relation, background };
        Some(GenerationSample { scene, prompt: claim.styled(style), claim, category })
    }

    /// What a prompt of a category asks for; `None` where the colours drawn so far leave no choice.
    fn plan(&self, category: Category, draws: &mut Draws, attempt: u64) -> Option<Plan> {
        let background = self.background(draws);
        let n_groups = match category {
            Category::SingleObject | Category::Counting | Category::Colours => 1,
            Category::TwoObjects | Category::Position | Category::AttributeBinding => 2,
        };
        let mut shapes = Shape::ALL.to_vec();
        draws.shuffle(&mut shapes);
        let mut groups: Vec<Group> = Vec::with_capacity(n_groups);
        for &shape in &shapes[..n_groups] {
            let mut group = self.group(shape, background, draws, attempt)?;
            match category {
                Category::SingleObject | Category::Colours => self.say_place_and_size(&mut group, draws),
                Category::Counting => group.wanted.count = 1 + draws.below(self.difficulty.n_objects_max),
                // Half as often, since there are two to say it of.
                _ if draws.chance(self.difficulty.size_share / 2.0) => group.wanted.size = Some(group.size),
                _ => {}
            }
            let says_colour = match category {
                Category::SingleObject | Category::TwoObjects => false,
                Category::Counting => draws.chance(0.5),
                Category::Colours | Category::Position | Category::AttributeBinding => true,
            };
            group.wanted.colour = says_colour.then_some(group.colour);
            groups.push(group);
        }
        // Two equal colours would bind rightly by chance.
        if category == Category::AttributeBinding && groups[0].colour == groups[1].colour {
            return None;
        }
        let relation = (category == Category::Position).then(|| draws.pick(Relation::ALL)).flatten();
        Some(Plan { background, groups, relation })
    }

    fn say_place_and_size(&self, group: &mut Group, draws: &mut Draws) {
        if draws.chance(self.difficulty.place_share) {
            group.wanted.place = draws.pick(Place::ALL);
        }
        if draws.chance(self.difficulty.size_share) {
            group.wanted.size = Some(group.size);
        }
    }

    /// A background by the recipe's shares.
    pub(crate) fn background(&self, draws: &mut Draws) -> Background {
        if !draws.chance(self.difficulty.background_share) {
            return Background::WHITE;
        }
        let texture = self.texture(draws);
        let colours: Vec<Colour> = Colour::ALL
            .iter()
            .copied()
            .filter(|&colour| texture != Texture::Plain || colour != Colour::White)
            .collect();
        Background { colour: draws.pick(&colours).unwrap_or(Colour::Grey), texture }
    }

    /// A texture by the recipe's share.
    pub(crate) fn texture(&self, draws: &mut Draws) -> Texture {
        if draws.chance(self.difficulty.textured_share) {
            draws.pick(&Texture::ALL[1..]).unwrap_or(Texture::Plain)
        } else {
            Texture::Plain
        }
    }

    /// One object of a shape that stands out on a background; only a texture is said of it.
    pub(crate) fn group(&self, shape: Shape, background: Background, draws: &mut Draws, attempt: u64) -> Option<Group> {
        let texture = self.texture(draws);
        let stands_out = |colour: &Colour| colour.stands_out(texture, background.colour, background.texture);
        let colours: Vec<Colour> = Colour::ALL.iter().copied().filter(stands_out).collect();
        let colour = draws.pick(&colours)?;
        let sizes = if attempt < SHRINK_AFTER { self.difficulty.sizes.as_slice() } else { &[Size::Small] };
        let size = draws.pick(sizes)?;
        let said = (texture != Texture::Plain).then_some(texture);
        Some(Group { wanted: Wanted { texture: said, ..Wanted::one(shape) }, colour, texture, size })
    }

    /// Places for what is planned.
    fn scene<'a>(&self, plan: &'a Plan, draws: &mut Draws, attempt: u64) -> Option<Scene> {
        let each = |group: &'a Group| std::iter::repeat_n(group, group.wanted.count);
        let mut objects: Vec<Object> =
            plan.groups.iter().flat_map(each).map(|group| self.object(group, draws)).collect();
        let sides: Vec<f32> = objects.iter().map(|object| object.side).collect();
        let place = plan.groups.first().and_then(|group| group.wanted.place);
        let rules = Rules { lattice: self.lattice(attempt), place, relation: plan.relation, on_quarters: false };
        let centres = self.suggested(&sides, rules, draws).or_else(|| arrange(draws, &sides, &[], rules))?;
        for (object, centre) in objects.iter_mut().zip(centres) {
            object.centre = centre;
        }
        Some(Scene { background: plan.background, objects })
    }

    /// Where the words alone put objects of these sides, in the recipe's share of scenes.
    fn suggested(&self, sides: &[f32], rules: Rules, draws: &mut Draws) -> Option<Vec<(f32, f32)>> {
        // No draw without the knob, so that it moves no sample of recipes that do not have it. Large objects would touch.
        let wanted = self.difficulty.arranged_share > 0.0 && draws.chance(self.difficulty.arranged_share);
        let clear = sides.iter().all(|&side| side <= 0.45) || (sides.len() == 1 && rules.place.is_none());
        if wanted && clear { suggested(sides.len(), rules.place, rules.relation) } else { None }
    }

    /// Whether the objects of a scene that no words describe stand on quarters of the image, in the recipe's share of scenes.
    pub(crate) fn is_on_quarters(&self, sides: &[f32], draws: &mut Draws, attempt: u64) -> bool {
        let share = self.difficulty.arranged_share;
        let is_wanted = share > 0.0 && draws.chance(share);
        is_wanted && attempt < SHRINK_AFTER && sides.iter().all(|&side| side <= 0.45)
    }

    /// One object of a group, its size jittered, not placed yet.
    pub(crate) fn object(&self, group: &Group, draws: &mut Draws) -> Object {
        let side = group.size.side() * (1.0 + self.difficulty.size_jitter * draws.between(-1.0, 1.0));
        let (shape, colour, texture) = (group.wanted.shape, group.colour, group.texture);
        Object { shape, colour, texture, centre: (0.5, 0.5), side }
    }

    /// The lattice of a layout at an attempt.
    pub(crate) fn lattice(&self, attempt: u64) -> f32 {
        if attempt < 2 * SHRINK_AFTER { self.difficulty.lattice } else { 0.0 }
    }
}

impl Plan {
    fn combination(&self, category: Category) -> Combination {
        let kind = |group: &Group| (group.wanted.shape, group.colour);
        match (category, self.groups.as_slice()) {
            (Category::Counting, [group]) => Combination::Count(group.wanted.count, group.wanted.shape, group.colour),
            (_, [group]) => Combination::One(group.wanted.shape, group.colour, group.size, group.wanted.place),
            (_, [first, second]) => Combination::pair(kind(first), kind(second), self.relation),
            (_, groups) => Combination::many(groups.iter().map(kind).collect()),
        }
    }
}
