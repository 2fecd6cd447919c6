//! Deliberate defects, one at a time: an invariant that notices none of them notices nothing.
//!
//! They stand in the simulation's own processes and in its callers' door, never in shipped code; what is shipped runs around
//! them, and may make one good or turn it into another failure. Found they must be by the same invariants, on the same
//! seeds, that hold the system without them.

use std::collections::BTreeSet;
use std::fmt;

use crate::invariant::{Invariant, Violation};
use crate::world::{Setting, simulate_with};

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A synthesis draws from another seed once its process was started again.
    OtherSeedAfterRestart,
    /// A synthesis makes an iteration twice whose decoder was lost.
    RepeatsIteration,
    /// A synthesis delivers the images of another request.
    AnothersImage,
    /// A synthesis shows a preview of another state.
    WrongPreview,
    /// A synthesis ends well without its last image.
    ForgetsImage,
    /// A decoder's session goes on from the prompts of the session before.
    LeakedSession,
    /// A decoder says a word twice.
    RepeatsWord,
    /// A decoder that is full fails instead of refusing.
    FailsWhenFull,
    /// An encoder answers with the embeddings of the image before.
    StaleEmbeddings,
    /// A service keeps the place of a caller that went away.
    KeepsPlaces,
    /// A service keeps the place of one caller that went away.
    KeepsOnePlace,
    /// Connections to a host are never made again once one was refused.
    NeverReconnects,
    /// Calls are made with five seconds more than their caller has.
    IgnoresDeadline,
    /// Calls are made with half the time that their caller has.
    HalvesDeadline,
    /// A stream that fails does not end.
    NeverEnds,
    /// UNAVAILABLE is told as UNKNOWN.
    UnknownStatus,
    /// A refusal does not say when to come back.
    NoRetryInfo,
    /// Images are delivered twice.
    ImageTwice,
    /// Previews are shown twice.
    PreviewTwice,
    /// A stream ends well without its last word.
    NoLastWord,
    /// A stream goes on after its last word.
    SpeaksOn,
    /// Progress begins again after a loss.
    ProgressAgain,
    /// Embeddings are cut short.
    CutEmbeddings,
    /// Nothing is said of the weights.
    NoWeights,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::OtherSeedAfterRestart,
        Self::RepeatsIteration,
        Self::AnothersImage,
        Self::WrongPreview,
        Self::ForgetsImage,
        Self::LeakedSession,
        Self::RepeatsWord,
        Self::FailsWhenFull,
        Self::StaleEmbeddings,
        Self::KeepsPlaces,
        Self::KeepsOnePlace,
        Self::NeverReconnects,
        Self::IgnoresDeadline,
        Self::HalvesDeadline,
        Self::NeverEnds,
        Self::UnknownStatus,
        Self::NoRetryInfo,
        Self::ImageTwice,
        Self::PreviewTwice,
        Self::NoLastWord,
        Self::SpeaksOn,
        Self::ProgressAgain,
        Self::CutEmbeddings,
        Self::NoWeights,
    ];

    /// Runs seeds from the first until one breaks an invariant, `most` at most.
    #[must_use]
    pub fn hunt(self, most: u64) -> Option<Caught> {
        (0..most).find_map(|seed| {
            let run = simulate_with(seed, Setting { mutant: Some(self), ..Setting::default() });
            let broken = run.violations.iter().map(|violation| violation.invariant).collect();
            run.violations.into_iter().next().map(|by| Caught { seed, by, broken })
        })
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherSeedAfterRestart => "synthesis draws from another seed after a restart",
            Self::RepeatsIteration => "synthesis makes an iteration twice whose decoder was lost",
            Self::AnothersImage => "synthesis delivers the images of another request",
            Self::WrongPreview => "synthesis shows a preview of another state",
            Self::ForgetsImage => "synthesis ends well without its last image",
            Self::LeakedSession => "decoder's session goes on from the one before",
            Self::RepeatsWord => "decoder says a word twice",
            Self::FailsWhenFull => "decoder that is full fails instead of refusing",
            Self::StaleEmbeddings => "encoder answers with the embeddings of the image before",
            Self::KeepsPlaces => "services keep the places of callers that went away",
            Self::KeepsOnePlace => "services keep the place of one caller that went away",
            Self::NeverReconnects => "a host that could not be reached once is never connected to again",
            Self::IgnoresDeadline => "calls have 5 s more than their caller",
            Self::HalvesDeadline => "calls have half the time of their caller",
            Self::NeverEnds => "a stream that fails does not end",
            Self::UnknownStatus => "UNAVAILABLE is told as UNKNOWN",
            Self::NoRetryInfo => "a refusal does not say when to come back",
            Self::ImageTwice => "images are delivered twice",
            Self::PreviewTwice => "previews are shown twice",
            Self::NoLastWord => "a stream ends well without its last word",
            Self::SpeaksOn => "a stream goes on after its last word",
            Self::ProgressAgain => "progress begins again after a loss",
            Self::CutEmbeddings => "embeddings are cut short",
            Self::NoWeights => "nothing is said of the weights",
        })
    }
}

/// How a mutant was found out.
#[derive(Clone, Debug)]
pub struct Caught {
    /// The first seed that did.
    pub seed: u64,
    /// What it broke first.
    pub by: Violation,
    /// All that it broke there.
    pub broken: BTreeSet<Invariant>,
}
