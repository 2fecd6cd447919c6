//! VQAScore (Lin et al. 2024, arXiv 2404.01291): the probability that a model answers "yes" when it is asked whether a picture
//! shows its caption.
//!
//! It is read off the model's distribution and not estimated from answers, so it has no noise, and one pass is enough. Models
//! differ in how they write the word, so the spellings are added up.

use futures::future::BoxFuture;

use super::rewards::{inside_a_sentence, read};
use super::{Reward, RewardError, Row, Score, Task};
use crate::{Artist, Question};

/// The spellings of yes, then those of no.
const WORDS: [&str; 4] = ["yes", "Yes", "no", "No"];

/// Probability of "yes" to "does this figure show …?". Scores captions; other rows have none.
#[derive(Debug, Clone)]
pub struct VqaScore<'a, A> {
    artist: &'a A,
    model: String,
}

impl<'a, A: Artist> VqaScore<'a, A> {
    /// The score of a model. `model` names who answers, as by its weights' hash.
    #[must_use]
    pub fn new(artist: &'a A, model: impl Into<String>) -> Self {
        Self { artist, model: model.into() }
    }
}

impl<A: Artist> Reward for VqaScore<'_, A> {
    fn describe(&self) -> String {
        format!("VQAScore by {}", self.model)
    }

    fn score<'a>(&'a self, row: &'a Row) -> BoxFuture<'a, Result<Option<Score>, RewardError>> {
        Box::pin(async move {
            let Task::Caption { image, caption } = &row.task else { return Ok(None) };
            let text = unipic_world::verification_question(&inside_a_sentence(caption));
            let question = Question { images: vec![read(image).await?], text: text.clone(), max_tokens: 1, seed: None };
            let found = self.artist.weigh(question, &WORDS).await?;
            let [a, b, c, d] = found[..] else {
                return Err(RewardError::Row("the model weighed other words than it was asked for".to_owned()));
            };
            let (yes, no) = (a + b, c + d);
            let reason = format!("asked \"{text}\": yes with probability {yes:.3}, no with {no:.3}");
            Ok(Some(Score { value: yes.clamp(0.0, 1.0), reason }))
        })
    }
}
