//! What was said about the last image, as the stateless API wants to hear it again with every question.

use bytes::Bytes;
use unipic_api::pb::{Part, Role, Turn, part::Content};

/// The last image and the questions about it.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    image: Option<Bytes>,
    /// Questions with their answers.
    said: Vec<(String, String)>,
}

impl Conversation {
    /// The last image.
    pub(super) fn image(&self) -> Option<&Bytes> {
        self.image.as_ref()
    }

    /// Goes on with another image: what was said was about the old one.
    pub(super) fn show(&mut self, image: Bytes) {
        *self = Self { image: Some(image), said: Vec::new() };
    }

    /// Forgets what was said.
    pub(super) fn forget(&mut self) {
        self.said.clear();
    }

    /// Notes an answer.
    pub(super) fn add(&mut self, question: String, answer: String) {
        self.said.push((question, answer));
    }

    /// The turns that lead to a question: at most `max_turns`, the oldest left out first. The image stands in the first.
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
        let mut image = self.image.clone();
        let turn = |(role, text): (Role, &str)| {
            let contents = image.take().map(Content::Image).into_iter().chain([Content::Text(text.to_owned())]);
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
}
