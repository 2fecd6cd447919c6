//! Words of prompts that name objects of the shapes world, found among their ids.

use std::collections::HashMap;

use unipic_models::prompt::{Piece, Prompt, PromptTokenizer, Segment};
use unipic_world::{Colour, Mention, Scene, Shape};

use crate::TrainError;
use crate::loss::AroundImage;

/// The ids of words that name something.
pub(super) struct Names(HashMap<u32, Name>);

#[derive(Clone, Copy)]
enum Name {
    Colour(Colour),
    Shape(Shape),
}

impl Names {
    /// Looks up the words, at the beginning of a text and within it; those of several tokens are passed over.
    pub(super) fn new(tokenizer: &PromptTokenizer) -> Result<Self, TrainError> {
        let shapes = Shape::ALL.iter().flat_map(|&shape| [(shape.word(), shape), (shape.plural(), shape)]);
        let shapes = shapes.map(|(word, shape)| (word, Name::Shape(shape)));
        let colours = Colour::ALL.iter().map(|&colour| (colour.word(), Name::Colour(colour)));
        let mut names = HashMap::new();
        for (word, name) in shapes.chain(colours) {
            for text in [word.to_owned(), format!(" {word}")] {
                let prompt = Prompt { segments: vec![Segment::User(text)] };
                if let [Piece::Ids(ids)] = &tokenizer.tokenize(&prompt)?[..]
                    && let &[id] = &ids[..]
                {
                    names.insert(id, name);
                }
            }
        }
        Ok(Self(names))
    }

    /// Marks the words behind the prompt's image that name something, and tells what the image shows of each. A shape right
    /// behind a colour is named with it: "a red star".
    pub(super) fn find(&self, prompt: &mut AroundImage, scene: Option<&Scene>) -> Vec<Mention> {
        let Some(scene) = scene else { return Vec::new() };
        let (mut mentions, mut colour_before) = (Vec::new(), None);
        for (at, id) in prompt.after.iter().enumerate() {
            let (colour, shape) = match self.0.get(id) {
                Some(Name::Colour(colour)) => (Some(*colour), None),
                Some(Name::Shape(shape)) => (colour_before, Some(*shape)),
                None => {
                    colour_before = None;
                    continue;
                }
            };
            prompt.named.push(at);
            mentions.push(scene.mention(colour, shape));
            colour_before = colour.filter(|_| shape.is_none());
        }
        mentions
    }
}

#[cfg(test)]
mod tests {
    use unipic_world::{Background, Found, Object, Texture};

    use super::*;

    #[test]
    fn words_are_found_alone_and_behind_a_colour() {
        let nano = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/models/nano/tokenizer.json");
        let tokenizer = PromptTokenizer::load(nano.as_ref()).unwrap();
        let names = Names::new(&tokenizer).unwrap();
        let ids =
            |text: &str| match &tokenizer.tokenize(&Prompt { segments: vec![Segment::User(text.into())] }).unwrap()[..]
            {
                [Piece::Ids(ids)] => ids.clone(),
                other => panic!("{other:?}"),
            };
        let object = |shape, colour| Object { shape, colour, texture: Texture::Plain, centre: (0.2, 0.2), side: 0.3 };
        let objects = vec![object(Shape::Star, Colour::Red), object(Shape::Star, Colour::Blue)];
        let scene = Scene { background: Background::WHITE, objects };
        let mut prompt =
            AroundImage { after: ids("Are the stars red? Is a red star there?"), ..AroundImage::default() };
        let found = names.find(&mut prompt, Some(&scene));
        let told: Vec<(usize, Found<Colour>)> =
            found.iter().map(|mention| (mention.n_objects, mention.colour)).collect();
        let red = Found::One(Colour::Red);
        assert_eq!(told, [(2, Found::Several), (1, red), (1, red), (1, red)]);
        let words: Vec<u32> = prompt.named.iter().map(|&at| prompt.after[at]).collect();
        assert_eq!(words, [" stars", " red", " red", " star"].map(|word| ids(word)[0]));
        let mut unknown = AroundImage { after: ids("a red star"), ..AroundImage::default() };
        assert!(names.find(&mut unknown, None).is_empty() && unknown.named.is_empty());
    }
}
