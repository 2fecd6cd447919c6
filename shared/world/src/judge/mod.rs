//! Judging pictures by their pixels alone: what is in them, and whether that is what was asked for.
//!
//! A vision model as a judge would have to be trained, could be wrong in the same way as the model it judges, and would
//! change between runs. In this world colours, shapes and sizes are known exactly, so a judge of a few hundred lines is
//! right on all but the most blurred pictures, and equally right for every model.

mod edit;
mod fit;
mod look;
mod mask;
mod pixels;

pub use edit::{EditVerdict, judge_edit};
pub use look::{MIN_CONFIDENCE, Seen, SeenObject, see};

use serde::{Deserialize, Serialize};
use unipic_imaging::Rgb8;

use crate::{Claim, Thing};

/// Whether a picture shows what a claim asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether everything is right and nothing else is there.
    pub right: bool,
    /// Why not, in words; empty when right.
    pub reasons: Vec<String>,
    /// What was seen.
    pub seen: Seen,
}

/// Holds a picture against a claim by GenEval's strict rule: every wanted thing in its exact number, colours, places
/// and relation as said, and nothing else in the picture.
#[must_use]
pub fn judge(image: &Rgb8, claim: &Claim) -> Verdict {
    let seen = see(image);
    let reasons = misfits(&seen, claim);
    Verdict { right: reasons.is_empty(), reasons, seen }
}

/// Why what was seen does not fit a claim, followed by what was seen.
fn misfits(seen: &Seen, claim: &Claim) -> Vec<String> {
    let things: Vec<Thing> = seen.objects.iter().map(Thing::from).collect();
    match claim.check(seen.background, seen.background_texture, &things) {
        Ok(()) => Vec::new(),
        Err(mismatch) => vec![mismatch.to_string(), format!("seen: {seen}")],
    }
}
