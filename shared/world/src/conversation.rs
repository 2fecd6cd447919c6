//! Conversations: several questions about one picture, each with one short answer.
//!
//! A model that learns to see learns from its answers alone, and a picture costs more than the words of a question. Asking
//! on about the same picture gives several times the answers for the same work.

use crate::listing::listing;
use crate::questions::{
    Asked, background, colour_of, count_all, count_in, place_in, presence, relation, shape_of, shown,
};
use crate::sampler::Stream;
use crate::{Draws, Place, QuestionKind, Sampler, Scene, Shape};

impl Sampler {
    /// Questions and answers about one picture: those `given` and others up to `n`, in any order, none asked twice.
    ///
    /// Some pictures have few things to ask about: where tries run out, it stays at fewer.
    #[must_use]
    pub fn conversation(
        &self,
        scene: &Scene,
        given: Vec<(String, String)>,
        n: usize,
        index: u64,
    ) -> Vec<(String, String)> {
        let mut draws = Draws::new(self.seed, Stream::Conversation as u64, index);
        let mut turns = given;
        for _ in 0..n * 8 {
            if turns.len() >= n {
                break;
            }
            let asked = self.asked_about(scene, &mut draws).filter(|(new, _)| turns.iter().all(|(old, _)| old != new));
            turns.extend(asked);
        }
        draws.shuffle(&mut turns);
        turns
    }

    /// A question of any kind, or one for a list, about a picture that was not drawn for it, if there is one.
    fn asked_about(&self, scene: &Scene, draws: &mut Draws) -> Option<Asked> {
        let listed = self.difficulty.listing_share;
        if listed > 0.0 && draws.chance(listed) { listing(scene, draws) } else { asked_about(scene, draws) }
    }
}

/// A question of any kind about a picture that was not drawn for it, if there is one.
fn asked_about(scene: &Scene, draws: &mut Draws) -> Option<Asked> {
    match draws.pick(QuestionKind::ALL)? {
        QuestionKind::Colour => colour_of(scene, draws),
        QuestionKind::Shape => shape_of(scene, draws),
        QuestionKind::CountOf => {
            // Of all shapes, most are not there, and "zero" would be most answers.
            let there = if draws.chance(0.7) { draws.pick(&scene.objects).map(|object| object.shape) } else { None };
            let shape = there.or_else(|| draws.pick(Shape::ALL))?;
            count_in(scene, shape, draws)
        }
        QuestionKind::CountAll => count_all(scene, draws),
        QuestionKind::Presence => presence(scene, draws),
        QuestionKind::Relation => relation(scene, draws),
        QuestionKind::Where => {
            let at = draws.below(scene.objects.len());
            let centre = scene.objects.get(at)?.centre;
            let place = Place::ALL.iter().copied().find(|place| place.clearly_holds(centre))?;
            place_in(scene, at, place, draws)
        }
        QuestionKind::Background => background(scene, draws),
        QuestionKind::Verification => shown(&scene.claim(), scene, draws),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Difficulty, Split};

    #[test]
    fn conversations_keep_what_is_given_and_ask_nothing_twice() {
        let sampler = Sampler::new(3, Difficulty::nano(), Split::Train);
        let mut lengths = Vec::new();
        for index in 0..200 {
            let first = sampler.question(index);
            let given = (first.question, first.answer);
            let turns = sampler.conversation(&first.scene, vec![given.clone()], 6, index);
            assert!(turns.contains(&given) && turns.len() <= 6);
            assert_eq!(turns, sampler.conversation(&first.scene, vec![given], 6, index));
            let mut questions: Vec<_> = turns.iter().map(|(question, _)| question).collect();
            questions.sort_unstable();
            questions.dedup();
            assert_eq!(questions.len(), turns.len());
            lengths.push(turns.len());
        }
        assert!(lengths.iter().filter(|length| **length == 6).count() > 150, "{lengths:?}");
    }

    /// Answers that follow from the picture, checked against its objects.
    #[test]
    fn later_answers_are_right() {
        let sampler = Sampler::new(4, Difficulty::nano(), Split::Train);
        let (mut counted, mut coloured) = (0, 0);
        for index in 0..200 {
            let scene = sampler.question(index).scene;
            for (question, answer) in sampler.conversation(&scene, Vec::new(), 6, index) {
                if question.starts_with("How many objects") {
                    let number = crate::wording::number_word(scene.objects.len());
                    assert_eq!(answer, number);
                    counted += 1;
                }
                if let Some(shape) = question.strip_prefix("What colour is the ").filter(|s| *s != "background?") {
                    let shape = shape.trim_end_matches('?');
                    let object = scene.objects.iter().find(|object| object.shape.word() == shape).unwrap();
                    assert_eq!(answer, object.colour.word());
                    coloured += 1;
                }
            }
        }
        assert!(counted > 20 && coloured > 20, "{counted} {coloured}");
    }
}
