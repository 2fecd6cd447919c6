//! Words for claims: one plain way to say each, and some others.

use crate::{Background, Claim, Draws, Texture, Wanted};

/// How a claim is put into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Style {
    /// Words before the claim, such as "draw ".
    opening: &'static str,
    /// Say "one star" instead of "a star".
    pub(crate) counted: bool,
    /// Say "a star in red" instead of "a red star".
    colour_behind: bool,
    /// Say "a square with a circle above it" instead of "a circle above a square".
    relation_behind: bool,
}

const OPENINGS: &[&str] = &["draw ", "an image of ", "a picture of ", "show ", "paint ", "create an image of "];

impl Style {
    /// A random style that is plain but for a share of draws.
    pub(crate) fn draw(draws: &mut Draws, rephrased_share: f32, counted: bool) -> Self {
        let mut style = Self { counted, ..Self::default() };
        if draws.chance(rephrased_share) {
            match draws.below(4) {
                0 => style.colour_behind = true,
                1 => style.relation_behind = true,
                _ => style.opening = draws.pick(OPENINGS).unwrap_or_default(),
            }
        }
        style
    }
}

/// "one" to "six"; larger numbers in digits.
pub(crate) fn number_word(n: usize) -> String {
    const WORDS: &[&str] = &["no", "one", "two", "three", "four", "five", "six"];
    WORDS.get(n).map_or_else(|| n.to_string(), |word| (*word).to_owned())
}

/// A phrase behind its indefinite article.
pub(crate) fn with_article(phrase: &str) -> String {
    let article = if phrase.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {phrase}")
}

impl Wanted {
    /// The plain words, such as "a large striped red circle on the left" or "three stars".
    #[must_use]
    pub fn text(&self) -> String {
        self.styled(Style::default())
    }

    fn styled(&self, style: Style) -> String {
        let noun = if self.count == 1 { self.shape.word() } else { self.shape.plural() };
        let colour = self.colour.map(|colour| colour.word());
        let texture = self.texture.filter(|&texture| texture != Texture::Plain).map(|texture| texture.word());
        let before = colour.filter(|_| !style.colour_behind);
        let mut words: Vec<&str> =
            [self.size.map(|size| size.word()), texture, before, Some(noun)].into_iter().flatten().collect();
        if let Some(colour) = colour.filter(|_| style.colour_behind) {
            words.extend(["in", colour]);
        }
        let phrase = words.join(" ");
        let counted = if self.count == 1 && !style.counted {
            with_article(&phrase)
        } else {
            format!("{} {phrase}", number_word(self.count))
        };
        self.place.map_or(counted.clone(), |place| format!("{counted} {}", place.phrase()))
    }
}

impl Background {
    /// "a yellow background", "a striped grey background".
    #[must_use]
    pub fn text(&self) -> String {
        let texture = if self.texture == Texture::Plain { String::new() } else { format!("{} ", self.texture) };
        with_article(&format!("{texture}{} background", self.colour))
    }
}

impl Claim {
    /// The plain words, such as "a red circle above a blue square on a yellow background".
    #[must_use]
    pub fn text(&self) -> String {
        self.styled(Style::default())
    }

    pub(crate) fn styled(&self, style: Style) -> String {
        let words: Vec<String> = self.wanted.iter().map(|wanted| wanted.styled(style)).collect();
        let things = match (self.relation, words.as_slice()) {
            (Some(relation), [first, second]) if style.relation_behind => {
                format!("{second} with {first} {relation} it")
            }
            (Some(relation), [first, second]) => format!("{first} {relation} {second}"),
            _ => join(&words),
        };
        let background = self.background.map(|background| format!(" on {}", background.text())).unwrap_or_default();
        format!("{}{things}{background}", style.opening)
    }
}

/// "a", "a and b", "a, b and c".
pub(crate) fn join(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Colour, Place, Relation, Shape, Size};

    #[test]
    fn plain_words() {
        let star = Wanted::one(Shape::Star);
        let full = Wanted {
            colour: Some(Colour::Orange),
            texture: Some(Texture::Striped),
            size: Some(Size::Large),
            place: Some(Place::Left),
            ..star
        };
        assert_eq!(star.text(), "a star");
        assert_eq!(full.text(), "a large striped orange star on the left");
        assert_eq!(
            Wanted { count: 3, colour: Some(Colour::Red), ..Wanted::one(Shape::Cross) }.text(),
            "three red crosses"
        );
        let orange = Wanted { colour: Some(Colour::Orange), ..star };
        let blue = Wanted { colour: Some(Colour::Blue), ..Wanted::one(Shape::Square) };
        let yellow = Background { colour: Colour::Yellow, texture: Texture::Plain };
        let mut claim = Claim { wanted: vec![orange, blue], relation: None, background: None };
        assert_eq!(claim.text(), "an orange star and a blue square");
        claim.relation = Some(Relation::LeftOf);
        claim.background = Some(yellow);
        assert_eq!(claim.text(), "an orange star to the left of a blue square on a yellow background");
        let behind = Style { relation_behind: true, ..Style::default() };
        assert!(claim.styled(behind).starts_with("a blue square with an orange star to the left of it"));
        let behind = Style { colour_behind: true, opening: "draw ", ..Style::default() };
        assert_eq!(
            Claim { relation: None, background: None, ..claim }.styled(behind),
            "draw a star in orange and a square in blue"
        );
    }
}
