//! Scenes with several unlike objects, which questions, captions and edits are about.

use crate::layout::{Rules, arrange};
use crate::sampler::Group;
use crate::{Background, Combination, Draws, Object, Place, Sampler, Scene, Shape};

impl Sampler {
    /// A scene with these shapes, everything else drawn, the first at a place where one is given; `None` where the
    /// combination is of the other split or no layout came out.
    pub(crate) fn mixed(
        &self,
        shapes: &[Shape],
        background: Background,
        place: Option<Place>,
        draws: &mut Draws,
        attempt: u64,
    ) -> Option<Scene> {
        let groups: Option<Vec<Group>> =
            shapes.iter().map(|&shape| self.group(shape, background, draws, attempt)).collect();
        let groups = groups?;
        let kinds = groups.iter().map(|group| (group.wanted.shape, group.colour)).collect();
        if !Combination::many(kinds).is_in(self.split) {
            return None;
        }
        let mut objects: Vec<Object> = groups.iter().map(|group| self.object(group, draws)).collect();
        let sides: Vec<f32> = objects.iter().map(|object| object.side).collect();
        let on_quarters = self.is_on_quarters(&sides, draws, attempt);
        let rules = Rules { lattice: self.lattice(attempt), place, relation: None, on_quarters };
        for (object, centre) in objects.iter_mut().zip(arrange(draws, &sides, &[], rules)?) {
            object.centre = centre;
        }
        Some(Scene { background, objects })
    }

    /// Random shapes, equal ones allowed.
    pub(crate) fn any_shapes(n: usize, draws: &mut Draws) -> Vec<Shape> {
        (0..n).filter_map(|_| draws.pick(Shape::ALL)).collect()
    }

    /// Random shapes, all different.
    pub(crate) fn unlike_shapes(n: usize, draws: &mut Draws) -> Vec<Shape> {
        let mut shapes = Shape::ALL.to_vec();
        draws.shuffle(&mut shapes);
        shapes.truncate(n);
        shapes
    }

    /// From `least` to the recipe's most objects.
    pub(crate) fn n_objects(&self, least: usize, draws: &mut Draws) -> usize {
        least + draws.below(self.difficulty.n_objects_max.saturating_sub(least) + 1)
    }
}

impl Scene {
    /// A name for one object that fits no other of the scene, without an article: its shape alone, or behind its colour;
    /// `None` where neither is enough.
    pub(crate) fn name(&self, at: usize, draws: &mut Draws) -> Option<String> {
        let object = self.objects.get(at)?;
        let alike = |by_colour: bool| {
            let same = |other: &&Object| other.shape == object.shape && (!by_colour || other.colour == object.colour);
            self.objects.iter().filter(same).count()
        };
        let short = alike(false) == 1 && draws.chance(0.5);
        let long = || (alike(true) == 1).then(|| format!("{} {}", object.colour, object.shape));
        if short { Some(object.shape.to_string()) } else { long() }
    }
}
