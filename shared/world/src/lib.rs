//! The shapes world: a small procedural world of pictures, and a judge that reads its pictures by their pixels alone.
//!
//! A [`Sampler`] is a pure function from (seed, index) to a sample, so a trainer draws its data on the fly, on any number
//! of threads, in any order, and resumes where it stopped; nothing is stored. Everything said about a picture is a
//! structured [`Claim`], so an evaluator can decide whether a picture fits its prompt without a second model.
//!
//! The crate knows neither tensors nor services: a picture is an [`Rgb8`](unipic_imaging::Rgb8).

mod captions;
mod cells;
mod claim;
mod conversation;
mod difficulty;
mod drawing;
mod edits;
mod error;
mod held_out;
mod judge;
mod layout;
mod listing;
mod mention;
mod mixed;
mod near_miss;
mod outline;
mod questions;
mod random;
mod sampler;
mod scene;
mod vocabulary;
mod wording;

pub use captions::{CaptionSample, DESCRIBE, names_all};
pub use cells::Cell;
pub use claim::{Claim, Mismatch, Thing, Wanted};
pub use difficulty::{CategoryWeights, Difficulty};
pub use edits::{EditKind, EditSample};
pub use error::WorldError;
pub use held_out::{Combination, HELD_OUT_ONE_IN, Split};
pub use judge::{EditVerdict, MIN_CONFIDENCE, Seen, SeenObject, Verdict, judge, judge_edit, see};
pub use mention::{Found, Mention};
pub use near_miss::CorruptedSample;
pub use outline::signed_distance;
pub use questions::{QuestionKind, QuestionSample, verification_question};
pub use random::Draws;
pub use sampler::{GenerationSample, Sampler};
pub use scene::{Background, Object, Scene};
pub use vocabulary::{Category, Colour, Place, Relation, Shape, Size, Texture};
