//! The reward of the shapes world: the judge that reads pixels.

use futures::future::BoxFuture;
use unipic_imaging::{DecodeLimits, decode};
use unipic_world::{Verdict, judge};

use super::{Reward, RewardError, Row, Score, Task, parse_claim};
use crate::{EvalError, files};

/// Whether a picture shows exactly what its words ask for: 1 or 0.
///
/// What the words ask for is the row's `claim` where it has one, else the caption read back. An edit is judged by its
/// result, and only where the row has the `claim` that the result must fit: an instruction alone does not say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShapesReward;

impl Reward for ShapesReward {
    fn describe(&self) -> String {
        "shapes reward".to_owned()
    }

    fn score<'a>(&'a self, row: &'a Row) -> BoxFuture<'a, Result<Option<Score>, RewardError>> {
        Box::pin(async move {
            let (image, claim) = match (&row.task, &row.claim) {
                (Task::Conversation { .. }, _) => return Ok(None),
                (Task::Caption { image, .. }, Some(claim)) => (image, claim.clone()),
                (Task::Caption { image, caption }, None) => {
                    let not = || RewardError::Row(format!("\"{caption}\" is not in the shapes world's words"));
                    (image, parse_claim(caption).ok_or_else(not)?)
                }
                (Task::Edit { target, .. }, Some(claim)) => (target, claim.clone()),
                (Task::Edit { .. }, None) => {
                    return Err(RewardError::Row("an edit needs the `claim` that its result must fit".to_owned()));
                }
            };
            let image = image.clone();
            let look = move || -> Result<Verdict, RewardError> {
                let row = |problem: String| RewardError::Row(problem);
                let file = files::read(&image).map_err(|error: EvalError| row(error.to_string()))?;
                let pixels = decode(&file, &DecodeLimits::default())
                    .map_err(|error| row(format!("`{}`: {error}", image.display())))?;
                Ok(judge(&pixels, &claim))
            };
            let verdict = tokio::task::spawn_blocking(look).await;
            let verdict =
                verdict.map_err(|error| RewardError::Scorer(format!("the judge ended badly ({error})")))??;
            let reason = if verdict.right { format!("seen: {}", verdict.seen) } else { verdict.reasons.join("; ") };
            Ok(Some(Score { value: if verdict.right { 1.0 } else { 0.0 }, reason }))
        })
    }
}
