//! What was said about the last image, as the stateless API wants to hear it again with every question.

use bytes::Bytes;
use unipic_api::pb::{Part, Role, Turn, part::Content};

/// The images and the questions about them.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    images: Vec<Bytes>,
    /// Questions with their answers.
    said: Vec<(String, String)>,
}

impl Conversation {
    /// The last image.
    pub(super) fn image(&self) -> Option<&Bytes> {
        self.images.last()
    }

    /// How many images a question is about.
    pub(super) fn n_images(&self) -> usize {
        self.images.len()
    }

    /// Goes on with another image alone: what was said was about the old ones.
    pub(super) fn show(&mut self, image: Bytes) {
        *self = Self { images: vec![image], said: Vec::new() };
    }

    /// Takes an image besides the others, or instead of those that were asked about already.
    pub(super) fn join(&mut self, image: Bytes) {
        match self.said.is_empty() {
            true => self.images.push(image),
            false => self.show(image),
        }
    }

    /// Whether one more image makes so many at most.
    pub(super) fn has_room(&self, max_images: u32) -> bool {
        !self.said.is_empty() || self.images.len() < max_images as usize
    }

    /// Forgets everything but the last image, which can still be saved, edited and asked about.
    pub(super) fn forget(&mut self) {
        self.said.clear();
        self.images.drain(..self.images.len().saturating_sub(1));
    }

    /// Notes an answer.
    pub(super) fn add(&mut self, question: String, answer: String) {
        self.said.push((question, answer));
    }

    /// The turns that lead to a question: at most `max_turns`, the oldest left out first. The images stand in the first.
    pub(super) fn turns(&self, question: &str, max_turns: u32) -> Vec<Turn> {
        // A question that waits for its answer, and pairs before it.
        let pairs = (max_turns as usize).saturating_sub(1) / 2;
        let recent = &self.said[self.said.len().saturating_sub(pairs)..];
        let mut texts = Vec::new();
        for (question, answer) in recent {
            texts.push((Role::User, question.as_str()));
            // A turn must say something, and a model may say nothing.
            texts.push((Role::Assistant, if answer.trim().is_empty() { "…" } else { answer }));
        }
        texts.push((Role::User, question));
        let mut images = self.images.clone();
        let turn = |(role, text): (Role, &str)| {
            let images = std::mem::take(&mut images).into_iter().map(Content::Image);
            let contents = images.chain([Content::Text(text.to_owned())]);
            Turn { role: role.into(), parts: contents.map(|content| Part { content: Some(content) }).collect() }
        };
        texts.into_iter().map(turn).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(turns: &[Turn]) -> Vec<String> {
        let part = |part: &Part| match &part.content {
            Some(Content::Image(file)) => format!("[{}]", String::from_utf8_lossy(file)),
            Some(Content::Text(text)) => text.clone(),
            None => String::new(),
        };
        let turn = |turn: &Turn| format!("{}: {}", turn.role, turn.parts.iter().map(part).collect::<String>());
        turns.iter().map(turn).collect()
    }

    #[test]
    fn questions_follow_each_other_and_the_image_comes_first() {
        let mut talk = Conversation::default();
        assert_eq!(shown(&talk.turns("hello", 9)), ["1: hello"]);
        talk.show(Bytes::from_static(b"cat"));
        assert_eq!(shown(&talk.turns("a?", 9)), ["1: [cat]a?"]);
        talk.add("a?".into(), "b".into());
        talk.add("c?".into(), " ".into());
        assert_eq!(shown(&talk.turns("e?", 9)), ["1: [cat]a?", "2: b", "1: c?", "2: …", "1: e?"]);
        assert_eq!(shown(&talk.turns("e?", 4)), ["1: [cat]c?", "2: …", "1: e?"]);
        for few in 0..3 {
            assert_eq!(shown(&talk.turns("e?", few)), ["1: [cat]e?"], "{few}");
        }
        talk.forget();
        assert_eq!(shown(&talk.turns("e?", 9)), ["1: [cat]e?"]);
        talk.show(Bytes::from_static(b"dog"));
        assert_eq!(shown(&talk.turns("e?", 9)), ["1: [dog]e?"]);
    }

    #[test]
    fn images_taken_one_after_another_are_asked_about_together() {
        let mut talk = Conversation::default();
        for image in ["cat", "dog"] {
            assert!(talk.has_room(2));
            talk.join(Bytes::from_static(image.as_bytes()));
        }
        assert!(!talk.has_room(2) && talk.n_images() == 2);
        assert_eq!(talk.image().map(|image| &image[..]), Some(&b"dog"[..]));
        talk.add("a?".into(), "b".into());
        assert_eq!(shown(&talk.turns("e?", 9)), ["1: [cat][dog]a?", "2: b", "1: e?"]);
        assert!(talk.has_room(2), "the next one begins a conversation of its own");
        talk.join(Bytes::from_static(b"cow"));
        assert_eq!(shown(&talk.turns("e?", 9)), ["1: [cow]e?"]);
        talk.join(Bytes::from_static(b"owl"));
        talk.forget();
        assert_eq!(shown(&talk.turns("e?", 9)), ["1: [owl]e?"]);
    }
}
