//! Rewards from a served vision-language model: it is asked whether a picture shows what its words say.
//!
//! A reward is the share of the model's answers that are "yes": of several with the temperature 1, or the likeliest one alone,
//! and then it is 0 or 1. The standard error of a share of n answers is at most 1/(2 sqrt n). [`VqaScore`](super::VqaScore), the
//! second check, reads the probability itself.

use std::path::Path;

use futures::future::BoxFuture;
use unipic_imaging::{DecodeLimits, decode};

use super::{Reward, RewardError, Row, Score, Task};
use crate::{Artist, Question, files, seed_of};

/// Tokens of an answer; enough for one word and what a chatty model puts before it.
const MAX_TOKENS: u32 = 8;

/// Whether a picture shows its caption, and whether the answers of a conversation are right.
#[derive(Debug, Clone)]
pub struct ImageReward<'a, A> {
    artist: &'a A,
    asker: Asker,
}

/// Whether the second picture is the first with an instruction followed and nothing else changed.
#[derive(Debug, Clone)]
pub struct EditReward<'a, A> {
    artist: &'a A,
    asker: Asker,
}

/// How questions are put.
#[derive(Debug, Clone, PartialEq)]
struct Asker {
    /// Which model answers, so that scores of two models are not mixed.
    model: String,
    answers: u32,
    seed: u64,
}

impl<'a, A: Artist> ImageReward<'a, A> {
    /// A reward from `answers` answers (at least 1) with seeds derived from `seed`. `model` names who answers, as by its
    /// weights' hash.
    #[must_use]
    pub fn new(artist: &'a A, model: impl Into<String>, answers: u32, seed: u64) -> Self {
        Self { artist, asker: Asker { model: model.into(), answers: answers.max(1), seed } }
    }
}

impl<'a, A: Artist> EditReward<'a, A> {
    /// As [`ImageReward::new`].
    #[must_use]
    pub fn new(artist: &'a A, model: impl Into<String>, answers: u32, seed: u64) -> Self {
        Self { artist, asker: Asker { model: model.into(), answers: answers.max(1), seed } }
    }
}

impl<A: Artist> Reward for ImageReward<'_, A> {
    fn describe(&self) -> String {
        self.asker.describe("image reward")
    }

    fn score<'a>(&'a self, row: &'a Row) -> BoxFuture<'a, Result<Option<Score>, RewardError>> {
        Box::pin(async move {
            let (image, questions) = match &row.task {
                Task::Caption { image, caption } => {
                    (image, vec![unipic_world::verification_question(&inside_a_sentence(caption))])
                }
                Task::Conversation { image, turns } => {
                    let asked = turns.iter().map(|turn| {
                        let (question, answer) = (&turn.question, &turn.answer);
                        format!("Someone was asked about this image: {question}\nThey answered: {answer}\nIs the answer right? Answer yes or no.")
                    });
                    (image, asked.collect())
                }
                Task::Edit { .. } => return Ok(None),
            };
            let image = read(image).await?;
            let mut lowest: Option<Score> = None;
            for question in questions {
                let score = self.asker.ask(self.artist, std::slice::from_ref(&image), question).await?;
                // A row is as good as its worst answer.
                if lowest.as_ref().is_none_or(|low| score.value < low.value) {
                    lowest = Some(score);
                }
            }
            Ok(lowest)
        })
    }
}

impl<A: Artist> Reward for EditReward<'_, A> {
    fn describe(&self) -> String {
        self.asker.describe("edit reward")
    }

    fn score<'a>(&'a self, row: &'a Row) -> BoxFuture<'a, Result<Option<Score>, RewardError>> {
        Box::pin(async move {
            let Task::Edit { source, target, instruction } = &row.task else { return Ok(None) };
            let images = [read(source).await?, read(target).await?];
            let question = format!(
                "The second image was made from the first by this instruction: {instruction}\nWas the instruction followed, and \
                 is everything else as it was? Answer yes or no."
            );
            Ok(Some(self.asker.ask(self.artist, &images, question).await?))
        })
    }
}

impl Asker {
    fn describe(&self, kind: &str) -> String {
        let Self { model, answers, seed } = self;
        match answers {
            1 => format!("{kind} by {model}, likeliest answer"),
            _ => format!("{kind} by {model}, {answers} answers, seed {seed}"),
        }
    }

    /// The share of answers that are "yes".
    async fn ask(&self, artist: &impl Artist, images: &[Vec<u8>], question: String) -> Result<Score, RewardError> {
        let mut yes = 0;
        let mut said = String::new();
        for n in 0..self.answers {
            let seed = (self.answers > 1).then(|| seed_of(self.seed, &question, n));
            let request = Question { images: images.to_vec(), text: question.clone(), max_tokens: MAX_TOKENS, seed };
            said = artist.ask(request).await?.text;
            yes += u32::from(is_yes(&said));
        }
        let value = f64::from(yes) / f64::from(self.answers);
        let reason = match self.answers {
            1 => format!("asked \"{question}\", answered \"{}\"", said.trim()),
            n => format!("asked \"{question}\", answered yes {yes} of {n} times"),
        };
        Ok(Score { value, reason })
    }
}

/// A caption as it stands inside a sentence: without its full stop, and without the capital of an article or a number.
pub(super) fn inside_a_sentence(caption: &str) -> String {
    const SMALL: [&str; 9] = ["A ", "An ", "The ", "Two ", "Three ", "Four ", "Five ", "Six ", "Several "];
    let caption = caption.trim().trim_end_matches('.');
    match SMALL.iter().find(|word| caption.starts_with(*word)) {
        Some(word) => format!("{}{}", word.to_lowercase(), &caption[word.len()..]),
        None => caption.to_owned(),
    }
}

/// Whether an answer begins with "yes".
fn is_yes(answer: &str) -> bool {
    let first = answer.split(|c: char| !c.is_alphabetic()).find(|word| !word.is_empty());
    first.is_some_and(|word| word.eq_ignore_ascii_case("yes"))
}

/// Reads an image file. What is none is the row's fault; the model would refuse it each time it is asked.
pub(super) async fn read(path: &Path) -> Result<Vec<u8>, RewardError> {
    let path = path.to_owned();
    let look = move || {
        let file = files::read(&path).map_err(|error| RewardError::Row(error.to_string()))?;
        match decode(&file, &DecodeLimits::default()) {
            Ok(_) => Ok(file),
            Err(error) => Err(RewardError::Row(format!("`{}`: {error}", path.display()))),
        }
    };
    let read = tokio::task::spawn_blocking(look).await;
    read.map_err(|error| RewardError::Scorer(format!("the reader of an image ended badly ({error})")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_fits_into_a_question() {
        assert_eq!(inside_a_sentence("A red circle on a white background. "), "a red circle on a white background");
        assert_eq!(inside_a_sentence("Annapolis at night"), "Annapolis at night");
    }

    #[test]
    fn yes_is_the_first_word() {
        for yes in ["yes", "Yes.", " YES, it does", "\"yes\""] {
            assert!(is_yes(yes), "{yes}");
        }
        for no in ["", "no", "No, yes", "yesterday", "the answer is yes"] {
            assert!(!is_yes(no), "{no}");
        }
    }
}
