//! What is in a picture, in fractions of the image side: x to the right, y downwards, (0, 0) the top left corner.

use serde::{Deserialize, Serialize};

use crate::{Colour, Shape, Size, Texture};

/// One thing in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its form.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// How it is filled.
    pub texture: Texture,
    /// Centre of its bounding box (x, y) in fractions of the image side.
    pub centre: (f32, f32),
    /// Side of its square bounding box in fractions of the image side.
    pub side: f32,
}

/// What is behind the things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Background {
    /// Its colour.
    pub colour: Colour,
    /// How it is filled.
    pub texture: Texture,
}

/// A whole picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// What is behind.
    pub background: Background,
    /// The things, which never overlap and lie wholly inside the image.
    pub objects: Vec<Object>,
}

impl Background {
    /// The background of every prompt that names none.
    pub const WHITE: Self = Self { colour: Colour::White, texture: Texture::Plain };
}

impl Default for Background {
    fn default() -> Self {
        Self::WHITE
    }
}

impl Object {
    /// Left, top, right and bottom of the bounding box in fractions of the image side.
    #[must_use]
    pub fn bounds(&self) -> [f32; 4] {
        let half = self.side / 2.0;
        [self.centre.0 - half, self.centre.1 - half, self.centre.0 + half, self.centre.1 + half]
    }

    /// The nearest of the three sizes.
    #[must_use]
    pub fn size(&self) -> Size {
        Size::nearest(self.side)
    }

    /// Whether it is wholly inside the image.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        let [left, top, right, bottom] = self.bounds();
        const SLACK: f32 = 1e-4;
        left >= -SLACK && top >= -SLACK && right <= 1.0 + SLACK && bottom <= 1.0 + SLACK
    }

    /// Free space between two bounding boxes along the axis that has more of it, in fractions of the image side;
    /// negative where they overlap.
    #[must_use]
    pub fn gap(&self, other: &Self) -> f32 {
        let (a, b) = (self.bounds(), other.bounds());
        let along = |low: usize, high: usize| (b[low] - a[high]).max(a[low] - b[high]);
        along(0, 2).max(along(1, 3))
    }

    /// Whether it is plain to see on a background.
    #[must_use]
    pub fn stands_out(&self, background: Background) -> bool {
        self.colour.stands_out(self.texture, background.colour, background.texture)
    }
}

impl Scene {
    /// Whether it keeps the world's rules: every object inside, none overlapping another, all plain to see.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let apart = |at: usize| self.objects[at + 1..].iter().all(|other| self.objects[at].gap(other) > 0.0);
        (0..self.objects.len()).all(|at| {
            let object = &self.objects[at];
            object.is_inside() && object.stands_out(self.background) && apart(at)
        })
    }
}
