//! The shapes world's words, read back: a prompt or a caption as the claim it makes.

use unipic_world::{Background, Claim, Colour, Place, Relation, Shape, Size, Texture, Wanted};

/// What a prompt or a caption of the shapes world asks for; `None` where its words are not that world's.
///
/// Every wording that the world's sampler and captions use is understood: openings ("draw …"), colours before and behind
/// ("a star in red"), relations either way round ("a square with a circle above it"), lists, numbers, and backgrounds.
#[must_use]
pub fn parse_claim(text: &str) -> Option<Claim> {
    let lower = text.trim().trim_end_matches('.').to_lowercase().replace(',', " , ");
    let words: Vec<&str> = lower.split_whitespace().collect();
    let words = without_opening(&words);
    let (things, background) = match split(words, &["on", "a"]).or_else(|| split(words, &["on", "an"])) {
        Some((things, behind)) => (things, Some(parse_background(behind)?)),
        None => (words, None),
    };
    if things == ["nothing"] {
        return Some(Claim { wanted: Vec::new(), relation: None, background });
    }
    if let Some((second, first)) = split(things, &["with"]) {
        // "a square with a circle above it"
        let first = first.strip_suffix(&["it"])?;
        let (relation, words) = RELATIONS.iter().find(|(_, words)| first.ends_with(words))?;
        let first = &first[..first.len() - words.len()];
        let wanted = vec![parse_wanted(first)?, parse_wanted(second)?];
        return Some(Claim { wanted, relation: Some(*relation), background });
    }
    let related = RELATIONS.iter().find_map(|(relation, words)| Some((*relation, split(things, words)?)));
    if let Some((relation, (first, second))) = related {
        let wanted = vec![parse_wanted(first)?, parse_wanted(second)?];
        return Some(Claim { wanted, relation: Some(relation), background });
    }
    let each = things.split(|word| [",", "and"].contains(word));
    let wanted = each.map(parse_wanted).collect::<Option<Vec<_>>>()?;
    Some(Claim { wanted, relation: None, background })
}

const RELATIONS: [(Relation, &[&str]); 4] = [
    (Relation::Above, &["above"]),
    (Relation::Below, &["below"]),
    (Relation::LeftOf, &["to", "the", "left", "of"]),
    (Relation::RightOf, &["to", "the", "right", "of"]),
];

const OPENINGS: [&[&str]; 7] = [
    &["draw"],
    &["show"],
    &["paint"],
    &["an", "image", "of"],
    &["a", "picture", "of"],
    &["create", "an", "image", "of"],
    &["create", "a", "picture", "of"],
];

fn without_opening<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    OPENINGS.iter().find_map(|opening| words.strip_prefix(*opening)).unwrap_or(words)
}

/// The words before and behind the first place where `at` stands.
fn split<'a, 'b>(words: &'a [&'b str], at: &[&str]) -> Option<(&'a [&'b str], &'a [&'b str])> {
    let found = words.windows(at.len()).position(|window| window == at)?;
    Some((&words[..found], &words[found + at.len()..]))
}

/// "striped grey background", its article taken away.
fn parse_background(words: &[&str]) -> Option<Background> {
    let words = words.strip_suffix(&["background"])?;
    let (texture, words) = leading(Texture::ALL, Texture::word, words);
    let (colour, rest) = leading(Colour::ALL, Colour::word, words);
    let texture = texture.unwrap_or(Texture::Plain);
    rest.is_empty().then_some(Background { colour: colour?, texture })
}

/// "a large striped red circle on the left", "three stars in red".
fn parse_wanted(words: &[&str]) -> Option<Wanted> {
    let (number, words) = words.split_first()?;
    const NUMBERS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];
    let count = match *number {
        "a" | "an" => 1,
        word => NUMBERS
            .iter()
            .position(|number| *number == word)
            .map(|at| at + 1)
            .or(word.parse().ok().filter(|n| *n > 0))?,
    };
    let (size, words) = leading(Size::ALL, Size::word, words);
    let (texture, words) = leading(Texture::ALL, Texture::word, words);
    let (before, words) = leading(Colour::ALL, Colour::word, words);
    let (noun, words) = words.split_first()?;
    let word = |shape: &Shape| if count == 1 { shape.word() } else { shape.plural() };
    let shape = Shape::ALL.iter().copied().find(|shape| word(shape) == *noun)?;
    let (behind, words) = match words {
        ["in", colour, rest @ ..] if *colour != "the" => (Some(leading(Colour::ALL, Colour::word, &[colour]).0?), rest),
        _ => (None, words),
    };
    let place = match words {
        [] => None,
        words => Some(Place::ALL.iter().copied().find(|place| place.phrase() == words.join(" "))?),
    };
    if before.is_some() && behind.is_some() {
        return None;
    }
    Some(Wanted { shape, colour: before.or(behind), texture, size, count, place })
}

/// The value whose word comes first, and the words behind it.
fn leading<'a, 'b, T: Copy>(
    all: &[T],
    word: fn(T) -> &'static str,
    words: &'a [&'b str],
) -> (Option<T>, &'a [&'b str]) {
    let found = words.first().and_then(|first| all.iter().copied().find(|value| word(*value) == *first));
    (found, if found.is_some() { &words[1..] } else { words })
}

#[cfg(test)]
mod tests {
    use unipic_world::{Difficulty, Sampler, Split};

    use super::*;

    #[test]
    fn whatever_the_world_says_is_understood() {
        let difficulty = Difficulty { rephrased_share: 0.8, place_share: 0.6, n_objects_max: 6, ..Difficulty::full() };
        for split in [Split::Train, Split::HeldOut] {
            let sampler = Sampler::new(5, difficulty.clone(), split);
            for index in 0..1000 {
                let sample = sampler.generation(index);
                assert_eq!(parse_claim(&sample.prompt), Some(sample.claim), "{}", sample.prompt);
                let caption = sampler.caption(index);
                let claim = parse_claim(&caption.caption).unwrap_or_else(|| panic!("{}", caption.caption));
                assert!(claim.fits(&caption.scene), "{}", caption.caption);
            }
        }
    }

    #[test]
    fn other_words_are_not_guessed_at() {
        for text in [
            "",
            "a",
            "circle",
            "a photo of a bench",
            "a red red circle",
            "a red circle in blue",
            "two circle",
            "a circle above",
            "a circle near a square",
            "a circle on a red table",
            "a square with a circle beside it",
            "a circle and",
            "zero circles",
            "0 circles",
        ] {
            assert_eq!(parse_claim(text), None, "{text}");
        }
    }
}
