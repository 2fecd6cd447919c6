//! The words of the world and what each means in pixels or in fractions of the image side.
//!
//! The vocabulary is small, so that a model of a few million parameters can learn all of it, and its parts are far
//! apart, so that a judge without a model can tell them from blurred pixels.

use serde::{Deserialize, Serialize};

/// A word list: the enum, all its values in order, and the word of each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$value_doc])* $value),+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The word for it in prompts and captions.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$value => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// A form; each fills its bounding box.
    Shape {
        /// A disc.
        Circle => "circle",
        /// An upright square.
        Square => "square",
        /// Apex at the top centre, base along the bottom.
        Triangle => "triangle",
        /// Five points, one upwards, stretched to its box.
        Star => "star",
        /// A square on its corner.
        Diamond => "diamond",
        /// An upright plus with arms a third of the box wide.
        Cross => "cross",
    }
}

words! {
    /// A colour.
    Colour {
        /// Red.
        Red => "red",
        /// Orange.
        Orange => "orange",
        /// Yellow.
        Yellow => "yellow",
        /// Green.
        Green => "green",
        /// Blue.
        Blue => "blue",
        /// Purple.
        Purple => "purple",
        /// Pink.
        Pink => "pink",
        /// Brown.
        Brown => "brown",
        /// Black.
        Black => "black",
        /// White.
        White => "white",
        /// Grey.
        Grey => "grey",
    }
}

words! {
    /// How a surface is filled; all but plain mix the colour with its second tone.
    Texture {
        /// One colour.
        Plain => "plain",
        /// Horizontal stripes.
        Striped => "striped",
        /// Round dots on a square grid.
        Dotted => "dotted",
        /// A chessboard.
        Checked => "checked",
    }
}

words! {
    /// The side of a bounding box.
    Size {
        /// A quarter of the image side.
        Small => "small",
        /// Three eighths of the image side.
        Medium => "medium",
        /// Half of the image side.
        Large => "large",
    }
}

words! {
    /// Where in the image an object's centre is.
    Place {
        /// The left.
        Left => "left",
        /// The right.
        Right => "right",
        /// The top.
        Top => "top",
        /// The bottom.
        Bottom => "bottom",
        /// The middle.
        Centre => "centre",
    }
}

words! {
    /// How a first object stands to a second.
    Relation {
        /// Higher in the image.
        Above => "above",
        /// Lower in the image.
        Below => "below",
        /// Further left.
        LeftOf => "to the left of",
        /// Further right.
        RightOf => "to the right of",
    }
}

words! {
    /// The six kinds of prompt of GenEval (Ghosh et al., 2023).
    Category {
        /// "a star".
        SingleObject => "single object",
        /// "a circle and a square".
        TwoObjects => "two objects",
        /// "three triangles".
        Counting => "counting",
        /// "a red star".
        Colours => "colours",
        /// "a red circle above a blue square".
        Position => "position",
        /// "a red circle and a blue square".
        AttributeBinding => "attribute binding",
    }
}

impl Shape {
    /// The plural.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Circle => "circles",
            Self::Square => "squares",
            Self::Triangle => "triangles",
            Self::Star => "stars",
            Self::Diamond => "diamonds",
            Self::Cross => "crosses",
        }
    }
}

impl Colour {
    /// The colour itself, 8-bit sRGB.
    #[must_use]
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [220, 40, 40],
            Self::Orange => [250, 140, 20],
            Self::Yellow => [250, 220, 30],
            Self::Green => [40, 160, 60],
            Self::Blue => [40, 80, 220],
            Self::Purple => [130, 50, 180],
            Self::Pink => [255, 150, 205],
            Self::Brown => [125, 75, 35],
            Self::Black => [20, 20, 20],
            Self::White => [255, 255, 255],
            Self::Grey => [140, 140, 140],
        }
    }

    /// The lighter or darker tone that textures mix in, 8-bit sRGB. Set by hand: whether lighter or darker is right
    /// depends on which other colours are near (light red must not become pink, dark orange not brown).
    #[must_use]
    pub fn tone(self) -> [u8; 3] {
        match self {
            Self::Red => [255, 115, 110],
            Self::Orange => [255, 190, 115],
            Self::Yellow => [255, 245, 160],
            Self::Green => [130, 225, 130],
            Self::Blue => [125, 165, 250],
            Self::Purple => [80, 15, 115],
            Self::Pink => [235, 85, 165],
            Self::Brown => [195, 145, 90],
            Self::Black => [75, 75, 75],
            Self::White => [215, 215, 215],
            Self::Grey => [178, 178, 178],
        }
    }

    /// Whether an object of this colour is plain to see on a background, with the tones that the textures use.
    #[must_use]
    pub fn stands_out(self, texture: Texture, background: Self, background_texture: Texture) -> bool {
        const BASE_MIN: f32 = 110.0;
        const TONE_MIN: f32 = 75.0;
        let mine = &[self.rgb(), self.tone()][..texture.tones()];
        let theirs = &[background.rgb(), background.tone()][..background_texture.tones()];
        distance(self.rgb(), background.rgb()) >= BASE_MIN
            && mine.iter().all(|&a| theirs.iter().all(|&b| distance(a, b) >= TONE_MIN))
    }
}

impl Texture {
    /// Number of tones it uses, 1 or 2.
    #[must_use]
    pub fn tones(self) -> usize {
        if self == Self::Plain { 1 } else { 2 }
    }
}

impl Size {
    /// Side of the bounding box in fractions of the image side.
    #[must_use]
    pub fn side(self) -> f32 {
        match self {
            Self::Small => 0.25,
            Self::Medium => 0.375,
            Self::Large => 0.5,
        }
    }

    /// The size whose side is nearest.
    #[must_use]
    pub fn nearest(side: f32) -> Self {
        if side < 0.3125 {
            Self::Small
        } else if side < 0.4375 {
            Self::Medium
        } else {
            Self::Large
        }
    }
}

impl Place {
    /// How it is said, such as "on the left".
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Left => "on the left",
            Self::Right => "on the right",
            Self::Top => "at the top",
            Self::Bottom => "at the bottom",
            Self::Centre => "in the centre",
        }
    }

    /// Whether a centre, in fractions of the image side, counts as being there. A corner on the diagonal counts as both.
    #[must_use]
    pub fn holds(self, centre: (f32, f32)) -> bool {
        self.within(centre, 0.12, 0.1, 1.0)
    }

    /// Whether a centre is there beyond doubt; scenes whose prompt names a place are drawn so.
    #[must_use]
    pub fn clearly_holds(self, centre: (f32, f32)) -> bool {
        self.within(centre, 0.07, 0.18, 0.6)
    }

    /// Whether a centre could be taken for being there; objects that an instruction moves there are not.
    #[must_use]
    pub fn nearly_holds(self, centre: (f32, f32)) -> bool {
        self.within(centre, 0.17, 0.05, 1.5)
    }

    fn within(self, centre: (f32, f32), middle: f32, beyond: f32, slope: f32) -> bool {
        let (x, y) = (centre.0 - 0.5, centre.1 - 0.5);
        let towards = |along: f32, across: f32| along >= beyond && across.abs() <= slope * along;
        match self {
            Self::Left => towards(-x, y),
            Self::Right => towards(x, y),
            Self::Top => towards(-y, x),
            Self::Bottom => towards(y, x),
            Self::Centre => x.abs() <= middle && y.abs() <= middle,
        }
    }
}

impl Relation {
    /// The relation seen from the second object.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Above => Self::Below,
            Self::Below => Self::Above,
            Self::LeftOf => Self::RightOf,
            Self::RightOf => Self::LeftOf,
        }
    }

    /// Whether the first centre stands so to the second, both in fractions of the image side.
    #[must_use]
    pub fn holds(self, first: (f32, f32), second: (f32, f32)) -> bool {
        self.within(first, second, 0.1, 1.2)
    }

    /// Whether it does beyond doubt; scenes whose prompt says a relation are drawn so.
    #[must_use]
    pub fn clearly_holds(self, first: (f32, f32), second: (f32, f32)) -> bool {
        self.within(first, second, 0.2, 0.65)
    }

    fn within(self, first: (f32, f32), second: (f32, f32), beyond: f32, slope: f32) -> bool {
        let (x, y) = (second.0 - first.0, second.1 - first.1);
        let (along, across) = match self {
            Self::Above => (y, x),
            Self::Below => (-y, x),
            Self::LeftOf => (x, y),
            Self::RightOf => (-x, y),
        };
        along >= beyond && across.abs() <= slope * along
    }
}

/// Euclidean distance of two 8-bit RGB values, 0 to 441.7.
pub(crate) fn distance(a: [u8; 3], b: [u8; 3]) -> f32 {
    (0..3).map(|channel| (f32::from(a[channel]) - f32::from(b[channel])).powi(2)).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_tones_are_far_apart() {
        for &a in Colour::ALL {
            assert!(distance(a.rgb(), a.tone()) >= 60.0, "{a} and its tone");
            for &b in Colour::ALL.iter().filter(|&&b| b != a) {
                assert!(distance(a.rgb(), b.rgb()) >= 75.0, "{a} and {b}");
                assert!(distance(a.rgb(), b.tone()) >= 62.0, "{a} and the tone of {b}");
                assert!(distance(a.tone(), b.tone()) >= 60.0, "the tones of {a} and {b}");
            }
        }
    }

    #[test]
    fn every_colour_has_backgrounds_to_stand_on() {
        for &colour in Colour::ALL {
            assert!(!colour.stands_out(Texture::Plain, colour, Texture::Plain));
            let on_white = colour.stands_out(Texture::Plain, Colour::White, Texture::Plain);
            assert_eq!(on_white, colour != Colour::White, "{colour} on white");
        }
    }

    #[test]
    fn a_relation_and_its_reverse_agree() {
        for &relation in Relation::ALL {
            for (first, second) in [((0.5, 0.2), (0.5, 0.8)), ((0.2, 0.5), (0.8, 0.5)), ((0.2, 0.2), (0.8, 0.8))] {
                assert_eq!(relation.holds(first, second), relation.reversed().holds(second, first));
            }
        }
        assert!(Relation::Above.holds((0.5, 0.2), (0.5, 0.8)));
        assert!(Place::Top.clearly_holds((0.5, 0.2)) && !Place::Top.holds((0.5, 0.5)));
    }
}
